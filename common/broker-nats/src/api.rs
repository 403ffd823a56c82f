//! JetStream's requests and their answers, as JSON.
//!
//! Configurations are read and written as JSON values, so that settings this program does not know
//! survive. Every request ends in time. Called by the topology, the link's checks and `depths`.

use async_nats::{Request, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::link::Link;

/// A request to JetStream that failed.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// No answer in time, or no connection.
    Silent(String),
    /// Nobody listens there: no JetStream, or no such consumer.
    NobodyThere,
    /// The server says no.
    Refused { err_code: u64, description: String },
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silent(why) => f.write_str(why),
            Self::NobodyThere => f.write_str("nobody answers for JetStream"),
            Self::Refused { description, .. } => f.write_str(description),
        }
    }
}

/// An error as JetStream tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    #[serde(default)]
    pub(crate) code: u64,
    #[serde(default)]
    pub(crate) err_code: u64,
    #[serde(default)]
    pub(crate) description: String,
}

impl Link {
    /// Asks JetStream.
    pub(crate) async fn api(&self, endpoint: &str, body: Bytes) -> Result<Value, ApiError> {
        let limit = self.options.request_timeout;
        let request = Request::new().payload(body).timeout(None);
        let answer = self.client.send_request(format!("{}.{endpoint}", self.names.api), request);
        let message = match tokio::time::timeout(limit, answer).await {
            Ok(Ok(message)) => message,
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(ApiError::NobodyThere);
            }
            Ok(Err(error)) => return Err(ApiError::Silent(error.to_string())),
            Err(_) => return Err(ApiError::Silent(format!("no answer within {} ms", limit.as_millis()))),
        };
        let answer: Value = serde_json::from_slice(&message.payload)
            .map_err(|error| ApiError::Silent(format!("an answer that is no JSON: {error}")))?;
        match answer.get("error").map(Refusal::deserialize) {
            Some(Ok(refusal)) => {
                Err(ApiError::Refused { err_code: refusal.err_code, description: refusal.description })
            }
            Some(Err(error)) => Err(ApiError::Silent(format!("an error that is not understood: {error}"))),
            None => Ok(answer),
        }
    }
}
