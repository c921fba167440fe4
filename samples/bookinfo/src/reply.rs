//! The answers that all services give alike: JSON errors, and health.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use serde_json::json;

/// `{"error": …}` with the status.
pub(crate) fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

/// `{"status": "Reviews is healthy"}`, the original's words.
pub(crate) fn healthy(service: &str) -> Response {
    Json(json!({ "status": format!("{service} is healthy") })).into_response()
}

/// The last part of the path is not a product's number; answered 400.
#[derive(Debug)]
pub(crate) struct NotAProduct;

impl IntoResponse for NotAProduct {
    fn into_response(self) -> Response {
        error(StatusCode::BAD_REQUEST, "please provide a numeric product id")
    }
}

pub(crate) fn product_id(text: &str) -> Result<u32, NotAProduct> {
    text.parse().map_err(|_| NotAProduct)
}

pub(crate) async fn no_such_path(uri: Uri) -> Response {
    error(StatusCode::NOT_FOUND, &format!("nothing is served at {}", uri.path()))
}

pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, &format!("{method} is not served at {}", uri.path()))
}
