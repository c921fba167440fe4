//! The facts about a book. As in the original, every number is the same book.

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::reply::{self, NotAProduct};

pub(crate) fn router() -> Router {
    Router::new()
        .route("/health", get(async || reply::healthy("Details")))
        .route("/details/{id}", get(details))
}

async fn details(Path(id): Path<String>) -> Result<Json<Value>, NotAProduct> {
    Ok(Json(json!({
        "id": reply::product_id(&id)?,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    })))
}
