//! Bodies: Markdown with expressions. No printed value is ever parsed as Markdown: the formatter
//! prints a token in its place and keeps the value aside; tokens are swapped in after parsing.

mod blocks;
mod cx;
mod filters;
mod functions;
mod maths;
mod names;
mod value;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};

pub(crate) use cx::{Cx, CxInit, Resolver, SlotSpec, is_token_mark, push_lines};
pub(crate) use names::Names;
pub(crate) use value::to_value;

use crate::error::TemplateError;
use crate::limits;

/// Name under which the render's own state stands in the context.
pub(crate) const CX: &str = "_cx";

/// Filters that would let a value through unescaped, or compute money with floats.
const REMOVED_FILTERS: [&str; 8] = ["safe", "tojson", "escape", "e", "float", "round", "abs", "urlencode"];

/// The environment every body is compiled in.
pub(crate) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::Custom("markdown".into()));
    env.set_formatter(print);
    env.set_fuel(Some(limits::BODY_FUEL));
    env.set_recursion_limit(50);
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap_or_default());
    for name in REMOVED_FILTERS {
        env.remove_filter(name);
    }
    filters::register(&mut env);
    functions::register(&mut env);
    maths::register(&mut env);
    env
}

/// Prints a value as a token. Safe strings are what functions and macros made: tokens already.
fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if value.is_none() {
        let hint = "the value is absent; guard it with `{% if … %}` or `default`";
        return Err(Error::new(ErrorKind::InvalidOperation, hint));
    }
    if value.is_safe() {
        return out.write_str(value.as_str().unwrap_or_default()).map_err(Error::from);
    }
    let text = value::printed(value)?;
    if text.is_empty() {
        return Ok(());
    }
    let token = cx::of(state)?.text(text)?;
    out.write_str(&token).map_err(Error::from)
}

/// An error of the engine as ours, with its line.
pub(crate) fn to_error(template: &str, error: &Error) -> TemplateError {
    let mut message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let kind = error.kind().to_string();
    if !message.contains(&kind) && error.detail().is_some() && error.kind() != ErrorKind::InvalidOperation {
        message = format!("{kind}: {message}");
    }
    TemplateError::Body { template: template.to_owned(), line: error.line(), message }
}
