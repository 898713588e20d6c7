//! Errors as problem+json (RFC 9457), each with the path of the field, what was found and what is allowed.

use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

const INCONSISTENT: &str = "the site would not be consistent; nothing was changed";

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// A path into the document, such as `ports.leaf1/3.untagged`.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// An answer that says what is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    title: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

impl Problem {
    pub fn new(status: u16, title: impl Into<String>) -> Self {
        Problem { title: title.into(), status, detail: None, errors: Vec::new() }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// What a blueprint's check found.
    pub fn of_blueprint(problems: &pergola_blueprint::Problems) -> Self {
        let errors = problems
            .list()
            .iter()
            .map(|p| FieldError {
                path: p.path.clone(),
                line: Some(p.at.line),
                column: Some(p.at.column),
                found: Some(p.found.clone()),
                allowed: Some(p.allowed.clone()),
                detail: None,
            })
            .collect();
        Problem::new(422, INCONSISTENT).errors(errors)
    }

    /// What the model's checks found after a change.
    pub fn of_violations(violations: &[pergola_model::Violation]) -> Self {
        let errors = violations
            .iter()
            .map(|v| FieldError {
                path: match v.field.as_str() {
                    "" => v.key.to_string(),
                    field => format!("{}: {field}", v.key),
                },
                line: None,
                column: None,
                found: Some(v.found.clone()),
                allowed: Some(v.allowed.clone()),
                detail: None,
            })
            .collect();
        Problem::new(422, INCONSISTENT).errors(errors)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        (status, [(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejected: QueryRejection) -> Self {
        Problem::new(rejected.status().as_u16(), "the query is wrong").detail(rejected.body_text())
    }
}

impl From<pergola_store::Error> for Problem {
    fn from(error: pergola_store::Error) -> Self {
        use pergola_store::Error;
        let status = match &error {
            Error::Conflict { .. } => 412,
            Error::TooLarge { .. } => 413,
            Error::Invalid { .. } => 400,
            Error::Unavailable { .. } | Error::Indeterminate { .. } => 503,
            Error::Full { .. } => 507,
            _ => 500,
        };
        if status >= 500 {
            tracing::error!(%error, "the store failed a request");
        }
        Problem::new(status, "the store did not take it").detail(error.to_string())
    }
}
