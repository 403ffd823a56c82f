//! Error answers of a server (RFC 9457), and what they mean for the user.

use bul_job::FieldError;
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use crate::exit::Fault;

/// An error answer (RFC 9457).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// HTTP status.
    #[serde(skip)]
    pub status: u16,
    title: String,
    detail: Option<String>,
    /// Stable code.
    pub code: String,
    errors: Vec<ProblemField>,
    #[serde(skip)]
    foreign: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ProblemField {
    pointer: String,
    #[serde(alias = "detail")]
    message: String,
}

impl Problem {
    /// Reads the body of an error answer, as far as it can be read.
    pub fn read(status: StatusCode, media: &str, body: &[u8], url: &Url) -> CallError {
        let ours = media.starts_with("application/problem+json") || media.starts_with("application/json");
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        problem.status = status.as_u16();
        // A proxy in between may answer 502 to 504 in its own words.
        problem.foreign = !ours && !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS;
        let fault = problem.fault(url);
        CallError::Problem(problem, fault)
    }

    /// Wrong fields by JSON Pointer.
    pub fn fields(&self) -> Vec<FieldError> {
        self.errors.iter().map(|e| FieldError::new(&e.pointer, &e.message)).collect()
    }

    /// What it means for the user of the server at `url`.
    fn fault(&self, url: &Url) -> Fault {
        let mut message = self.detail.clone().filter(|d| !d.is_empty()).unwrap_or_else(|| self.title.clone());
        if self.foreign {
            message = format!("{url} answered {} but not as a BUL server does", self.status);
        } else if message.is_empty() {
            message = format!("the server answered {}", self.status);
        }
        for field in self.fields() {
            let line = field.to_string();
            if !message.contains(&line) {
                message.push_str("\n  ");
                message.push_str(&line);
            }
        }
        match self.status {
            _ if self.foreign => Fault::unavailable(message).hint("check --url or BUL_URL"),
            401 => Fault::usage(message)
                .hint("set BUL_KEY or BUL_KEY_FILE to an API key; make one with: bul key create --name NAME"),
            403 => {
                Fault::usage(message).hint("use a key with more rights: bul key create --permission operate")
            }
            400 | 413 | 415 | 422 => Fault::usage(message),
            404 | 410 => Fault::not_found(message),
            429 | 502..=504 => Fault::unavailable(message).hint("try again a little later"),
            _ => Fault::failed(message),
        }
    }
}

/// A request that came to nothing.
#[derive(Debug)]
pub enum CallError {
    /// The server said no.
    Problem(Problem, Fault),
    /// There was no answer, or none that can be read.
    Fault(Fault),
}

impl CallError {
    /// As what it is reported.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Problem(_, fault) | Self::Fault(fault) => fault,
        }
    }
}

impl From<CallError> for anyhow::Error {
    fn from(error: CallError) -> Self {
        error.into_fault().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn statuses_become_exit_codes() {
        let url: Url = "http://127.0.0.1:1/".parse().unwrap();
        let check = |status: u16, expected: Exit| {
            let problem = Problem { status, title: "t".into(), ..Problem::default() };
            assert_eq!(problem.fault(&url).exit, expected, "{status}");
        };
        check(422, Exit::Usage);
        check(401, Exit::Usage);
        check(404, Exit::NotFound);
        check(409, Exit::Failed);
        check(500, Exit::Failed);
        check(503, Exit::Unavailable);
    }

    #[test]
    fn problems_list_their_fields() {
        let body = r#"{"type":"about:blank","title":"invalid","status":422,"code":"invalid_job","retryable":false,
            "errors":[{"pointer":"/data/total","detail":"must be a number"}]}"#;
        let mut problem: Problem = serde_json::from_str(body).unwrap();
        problem.status = 422;
        let fault = problem.fault(&"http://h/".parse().unwrap());
        assert_eq!(fault.message, "invalid\n  /data/total: must be a number");
    }
}
