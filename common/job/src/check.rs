//! Looking through the fields of a job: every fault is found, and each names its field.
//!
//! Called by `valid`, which puts together what came through.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

use crate::valid::{ATTEMPTS_DEFAULT, FORMATS_LATER, KINDS_LATER};
use crate::{FieldError, Format, Kind, Lane, Limits, Params, PriorityInput, Timestamp, response_schema};

/// Faults found so far.
pub(crate) struct Check<'a> {
    pub errors: Vec<FieldError>,
    pub limits: &'a Limits,
}

impl Check<'_> {
    pub fn error(&mut self, pointer: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(pointer, message));
    }

    /// Free text: NFC, no control characters but tab and line breaks, not blank, bounded.
    pub fn text(&mut self, pointer: &str, value: Option<String>, chars_max: usize) -> Option<String> {
        let value: String = value?.nfc().collect();
        if let Some(c) = value.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.error(pointer, format!("control character U+{:04X} is not allowed", c as u32));
            return None;
        }
        let count = value.chars().count();
        if count > chars_max {
            self.error(pointer, format!("has {count} characters, at most {chars_max} are allowed"));
            return None;
        }
        let trimmed = value.trim();
        if trimmed.is_empty() {
            self.error(pointer, "must not be blank");
            return None;
        }
        Some(trimmed.to_owned())
    }

    /// A one-line text.
    pub fn name(&mut self, pointer: &str, value: Option<String>) -> Option<String> {
        let text = self.text(pointer, value, self.limits.name_chars_max)?;
        if text.contains(['\n', '\r', '\t']) {
            self.error(pointer, "must be a single line");
            return None;
        }
        Some(text)
    }

    pub fn kind(&mut self, value: Option<String>) -> Kind {
        match value.as_deref() {
            None | Some("document.generate") => {}
            Some(name) if KINDS_LATER.contains(&name) => {
                self.error("/kind", format!("kind {name} is not available in this version"));
            }
            Some(name) => {
                self.error("/kind", format!("unknown kind {:?}, expected document.generate", cut(name)))
            }
        }
        Kind::DocumentGenerate
    }

    pub fn formats(&mut self, value: Option<Vec<String>>) -> Vec<Format> {
        let Some(names) = value else { return vec![Format::Pdf] };
        let mut formats = Vec::new();
        if names.is_empty() {
            self.error("/formats", "at least one format is needed");
        }
        for (index, name) in names.iter().enumerate().take(32) {
            match Format::parse(name) {
                Some(format) if !formats.contains(&format) => formats.push(format),
                Some(_) => {}
                None if FORMATS_LATER.contains(&name.to_ascii_lowercase().as_str()) => {
                    self.error(
                        &format!("/formats/{index}"),
                        format!("format {name} is not available in this version"),
                    );
                }
                None => self.error(
                    &format!("/formats/{index}"),
                    format!("unknown format {:?}, expected md, html, pdf, json or txt", cut(name)),
                ),
            }
        }
        formats
    }

    pub fn language(&mut self, value: Option<String>) -> String {
        let Some(tag) = value else { return "en".into() };
        let mut parts = tag.split('-');
        let primary = parts.next().unwrap_or_default();
        let ok = (2..=3).contains(&primary.len())
            && primary.chars().all(|c| c.is_ascii_alphabetic())
            && parts.all(|p| (1..=8).contains(&p.len()) && p.chars().all(|c| c.is_ascii_alphanumeric()));
        if !ok || tag.len() > 35 {
            self.error("/language", format!("{:?} is not a language tag such as en or de-DE", cut(&tag)));
        }
        tag
    }

    pub fn lane(&mut self, value: Option<PriorityInput>) -> Lane {
        let lane = match &value {
            None => Some(Lane::default()),
            Some(PriorityInput::Number(n)) => usize::try_from(*n).ok().and_then(Lane::from_index),
            Some(PriorityInput::Name(name)) => Lane::parse(name),
        };
        lane.unwrap_or_else(|| {
            self.error("/priority", "expected critical, high, normal, low or a number from 0 to 3");
            Lane::default()
        })
    }

    pub fn time(&mut self, pointer: &str, value: Option<String>) -> Option<Timestamp> {
        let value = value?;
        match chrono::DateTime::parse_from_rfc3339(&value) {
            Ok(time) if (1970..=9999).contains(&chrono::Datelike::year(&time)) => Some(time.to_utc()),
            _ => {
                self.error(
                    pointer,
                    format!("{:?} is not an RFC 3339 time such as 2026-12-01T09:00:00Z", cut(&value)),
                );
                None
            }
        }
    }

    pub fn attempts(&mut self, value: Option<u32>) -> u32 {
        let max = self.limits.attempts_max;
        let n = value.unwrap_or(ATTEMPTS_DEFAULT);
        if !(1..=max).contains(&n) {
            self.error("/max_attempts", format!("must be 1 to {max}"));
        }
        n
    }

    pub fn params(&mut self, value: Option<Params>) -> Params {
        let params = value.unwrap_or_default();
        if params.max_tokens.is_some_and(|n| n == 0 || n > 32_768) {
            self.error("/params/max_tokens", "must be 1 to 32768");
        }
        if params.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
            self.error("/params/temperature", "must be 0 to 2");
        }
        if params.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            self.error("/params/top_p", "must be above 0 and at most 1");
        }
        params
    }

    pub fn response_schema(&mut self, value: Option<Value>, is_free: bool) -> Option<Value> {
        let schema = value?;
        match response_schema::problem(&schema, is_free, self.limits) {
            None => Some(schema),
            Some(problem) => {
                self.error("/response_schema", problem);
                None
            }
        }
    }

    pub fn metadata(&mut self, value: Option<BTreeMap<String, Value>>) -> BTreeMap<String, Value> {
        let metadata = value.unwrap_or_default();
        let max = self.limits.metadata_entries_max;
        if metadata.len() > max {
            self.error("/metadata", format!("has {} entries, at most {max} are allowed", metadata.len()));
        }
        for (key, value) in &metadata {
            if value.is_object() || value.is_array() || value.as_str().is_some_and(|s| s.len() > 2_000) {
                self.error(&format!("/metadata/{}", cut(key)), "must be a short text, number or boolean");
            }
        }
        metadata
    }

    pub fn data(&mut self, value: Option<Map<String, Value>>) -> Map<String, Value> {
        let mut data = value.unwrap_or_default();
        for (key, value) in &mut data {
            self.data_value(&format!("/data/{}", key.replace('~', "~0").replace('/', "~1")), value, 1);
        }
        data
    }

    /// Removes what no output format can hold; refuses what is too deep.
    pub fn data_value(&mut self, pointer: &str, value: &mut Value, depth: usize) {
        if depth > self.limits.depth_max {
            let max = self.limits.depth_max;
            return self.error(
                &pointer.chars().take(200).collect::<String>(),
                format!("nested deeper than {max} levels"),
            );
        }
        match value {
            Value::String(text)
                if text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) =>
            {
                text.retain(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.data_value(&format!("{pointer}/{index}"), item, depth + 1);
                }
            }
            Value::Object(map) => {
                for (key, item) in map.iter_mut() {
                    self.data_value(&format!("{pointer}/{key}"), item, depth + 1);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Untrusted text in an error message: bounded.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
