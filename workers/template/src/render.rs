//! Rendering: an order's data through schema, preparer, facts, body and head. Everything that can fail happens here.

use std::sync::Arc;

use bul_document::Meta;
use minijinja::value::Value as BodyValue;
use serde_json::Value;

use crate::body::{self, Cx, CxInit, Names, to_value};
use crate::catalog::Order;
use crate::compute::{Input, Prepared};
use crate::error::TemplateError;
use crate::facts::FactSet;
use crate::finding::{Finding, Severity};
use crate::format::{Locale, primary};
use crate::json::{scalar, without_nulls};
use crate::package::{self, FactFormat, FactRule, Template};
use crate::prompt::one_line;
use crate::schema::Schema;

/// Whether the order's data makes a document, without making it.
pub(crate) fn check(template: &Template, order: &Order) -> Result<(), TemplateError> {
    if let Some(schema) = order.response_schema {
        Schema::for_answers(schema.clone()).map_err(TemplateError::AnswerSchema)?;
    }
    compute(template, order).map(drop)
}

/// Everything that can fail: data against schema, preparation, facts, body and head.
pub(crate) fn compute(template: &Template, order: &Order) -> Result<(Rendered, Prepared), TemplateError> {
    let mut data = without_nulls(order.data);
    let problems = template.schema.check(&data);
    if !problems.is_empty() {
        return Err(TemplateError::Data { template: template.name().to_owned(), problems });
    }
    let (language, mut findings) = choose_language(template, order.language);
    let locale = Locale::of(&language);
    let labels = template.labels(primary(&language));
    let input = Input { order, data: &data, locale, labels: &labels, template };
    let mut prepared = template.preparer.prepare(&input)?;
    findings.append(&mut prepared.findings);
    prepared.findings = findings;
    if let Some(members) = data.as_object_mut() {
        // What the preparer has summed up would only slow the body down.
        prepared.bulk.iter().for_each(|name| drop(members.remove(*name)));
    }
    if template.reads_data {
        template.schema.fill_absent(&mut data);
    }
    let rendered = render(template, order, &language, &data, &mut prepared)?;
    Ok((rendered, prepared))
}

/// The language of the fixed texts: the one ordered where the template has it.
fn choose_language(template: &Template, ordered: &str) -> (String, Vec<Finding>) {
    let ordered = if ordered.trim().is_empty() { "en" } else { ordered.trim() };
    let known = &template.manifest.languages;
    let has = known.is_empty() || known.iter().any(|l| l.eq_ignore_ascii_case(primary(ordered)));
    if has {
        return (ordered.to_owned(), Vec::new());
    }
    let fallback = known.first().cloned().unwrap_or_else(|| "en".into());
    let message = format!("the template has no texts in `{}`; `{fallback}` is used", one_line(ordered, 35));
    let finding = Finding::new("template.language", Severity::Warning, "", message);
    (fallback, vec![finding])
}

/// What a body printed, before it is read as Markdown.
pub(crate) struct Rendered {
    pub(crate) meta: Meta,
    pub(crate) text: String,
    pub(crate) cx: Arc<Cx>,
    pub(crate) facts: FactSet,
}

fn render(
    template: &Template,
    order: &Order,
    language: &str,
    data: &Value,
    prepared: &mut Prepared,
) -> Result<Rendered, TemplateError> {
    let locale = Locale::of(language);
    let currency = currency(template, data);
    let mut context = context(template, order, language, data, prepared);
    let mut facts = std::mem::take(&mut prepared.facts);
    apply_rules(template, data, &context, &currency, locale, &mut facts)?;
    let cx = Cx::new(CxInit {
        locale,
        currency,
        labels: template.labels(primary(language)),
        facts: facts.clone(),
        parts: std::mem::take(&mut prepared.parts),
    });
    context.add(body::CX, cx.value());
    let whole = BodyValue::from_object(context);
    let print = |name: &str| {
        let printed = template.env.get_template(name).and_then(|body| body.render(whole.clone()));
        printed.map_err(|error| body::to_error(template.name(), &error))
    };
    let text = print(&template.body_for(primary(language)))?;
    let meta = meta(template, order, language, data, prepared, |name| {
        let printed = print(name)?;
        Ok(one_line(&cx.with_resolver(|resolver| resolver.plain(&printed)), 300))
    })?;
    Ok(Rendered { meta, text, cx, facts })
}

/// The head of the document: what was prepared, else what the manifest computes, else its fixed texts.
fn meta(
    template: &Template,
    order: &Order,
    language: &str,
    data: &Value,
    prepared: &mut Prepared,
    print: impl Fn(&str) -> Result<String, TemplateError>,
) -> Result<Meta, TemplateError> {
    let manifest = &template.manifest;
    let [title, subtitle, author] = package::heads(manifest);
    let or = |computed: &mut String, (name, source): (&str, &Option<String>)| match source {
        Some(_) if computed.is_empty() => print(name),
        Some(_) | None => Ok(std::mem::take(computed)),
    };
    let mut meta = Meta {
        title: or(&mut prepared.title, title)?,
        subtitle: or(&mut prepared.subtitle, subtitle)?,
        lang: language.to_owned(),
        author: or(&mut prepared.author, author)?,
        date: prepared.date.take().or_else(|| pointed(data, manifest.date.as_deref())).unwrap_or_default(),
        doc_type: prepared.doc_type.take().unwrap_or_else(|| manifest.doc_type.clone()),
        business_area: prepared.business_area.take().unwrap_or_else(|| manifest.business_area.clone()),
        brand: manifest.brand.clone(),
    };
    if meta.title.is_empty() {
        meta.title = manifest.title.clone();
    }
    if meta.brand.name.is_empty() {
        meta.brand.name = std::mem::take(&mut prepared.brand_name);
    }
    if crate::format::parse_date(&meta.date).is_none() {
        meta.date = order.date.to_string();
    }
    Ok(meta)
}

/// Everything a body may read besides functions.
fn context(template: &Template, order: &Order, language: &str, data: &Value, prepared: &Prepared) -> Names {
    let mut context = Names::default();
    context.add("data", if template.reads_data { to_value(data) } else { BodyValue::from(()) });
    context.add("language", BodyValue::from(language));
    context.add("date", BodyValue::from(order.date.to_string()));
    context.add("query", BodyValue::from(order.query.unwrap_or_default()));
    for (name, value) in &prepared.context {
        context.add(name.clone(), to_value(value));
    }
    context
}

fn currency(template: &Template, data: &Value) -> String {
    match template.manifest.currency.as_deref() {
        Some(pointer) if pointer.starts_with('/') => pointed(data, Some(pointer)).unwrap_or_default(),
        Some(code) => code.to_owned(),
        None => String::new(),
    }
}

fn pointed(data: &Value, pointer: Option<&str>) -> Option<String> {
    pointer.and_then(|pointer| data.pointer(pointer)).and_then(scalar)
}

/// Facts the manifest declares.
fn apply_rules(
    template: &Template,
    data: &Value,
    context: &Names,
    currency: &str,
    locale: Locale,
    facts: &mut FactSet,
) -> Result<(), TemplateError> {
    let bad = |rule: &FactRule, message: String| TemplateError::Body {
        template: template.name().to_owned(),
        line: None,
        message: format!("fact `{}`: {message}", rule.name),
    };
    for rule in &template.manifest.facts {
        let (text, origin) = match (&rule.pointer, &rule.expression) {
            (Some(pointer), _) => (pointed(data, Some(pointer)), pointer.clone()),
            (None, Some(source)) => {
                let value = template
                    .env
                    .compile_expression(source)
                    .and_then(|e| e.eval(BodyValue::from_object(context.clone())))
                    .map_err(|error| bad(rule, error.to_string()))?;
                let blank = value.is_none() || value.is_undefined();
                ((!blank).then(|| value.to_string()), format!("computed: {source}"))
            }
            (None, None) => (None, String::new()),
        };
        let Some(text) = text else { continue };
        let currency = match rule.currency.as_deref() {
            Some(pointer) if pointer.starts_with('/') => pointed(data, Some(pointer)).unwrap_or_default(),
            Some(code) => code.to_owned(),
            None => currency.to_owned(),
        };
        let value = fact_value(&text, rule.format, &currency, locale)
            .ok_or_else(|| bad(rule, format!("`{}` does not have its format", one_line(&text, 60))))?;
        facts.add(&rule.name, value, origin);
    }
    Ok(())
}

fn fact_value(text: &str, format: FactFormat, currency: &str, locale: Locale) -> Option<String> {
    let number = || crate::format::plain_decimal(text);
    Some(match format {
        FactFormat::Text => text.to_owned(),
        FactFormat::Money => locale.money(number()?, currency),
        FactFormat::Number => locale.number(number()?),
        FactFormat::Percent => locale.percent(number()?),
        FactFormat::Date => locale.date(crate::format::parse_date(text)?),
    })
}
