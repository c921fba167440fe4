//! How many stars each reader gave. A POST changes a book's ratings for as long as the process lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use crate::reply::{self, NotAProduct};

/// Stars by reader.
type Ratings = BTreeMap<String, u8>;

/// What was posted, by product.
type Posted = Arc<Mutex<BTreeMap<u32, Ratings>>>;

const MAX_STARS: u8 = 5;
const MAX_BODY: usize = 4096;
const MAX_PRODUCTS: usize = 1000;

pub(crate) fn router() -> Router {
    Router::new()
        .route("/health", get(async || reply::healthy("Ratings")))
        .route("/ratings/{id}", get(read).post(write))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Posted::default())
}

async fn read(State(posted): State<Posted>, Path(id): Path<String>) -> Result<Response, NotAProduct> {
    let id = reply::product_id(&id)?;
    // The map is whole after every step, so a panic elsewhere while it was locked does no harm.
    let posted = posted.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(answer(id, &posted.get(&id).cloned().unwrap_or_else(initial)))
}

async fn write(
    State(posted): State<Posted>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, NotAProduct> {
    let id = reply::product_id(&id)?;
    let ratings = match serde_json::from_slice::<Ratings>(&body) {
        Ok(ratings) if ratings.values().all(|stars| *stars <= MAX_STARS) => ratings,
        _ => {
            let message = r#"please provide valid ratings JSON, such as {"Reviewer1": 5, "Reviewer2": 4}"#;
            return Ok(reply::error(StatusCode::BAD_REQUEST, message));
        }
    };
    let mut posted = posted.lock().unwrap_or_else(PoisonError::into_inner);
    if posted.len() >= MAX_PRODUCTS && !posted.contains_key(&id) {
        return Ok(reply::error(
            StatusCode::INSUFFICIENT_STORAGE,
            "ratings of too many products were posted",
        ));
    }
    posted.insert(id, ratings.clone());
    Ok(answer(id, &ratings))
}

fn initial() -> Ratings {
    Ratings::from([("Reviewer1".to_owned(), 5), ("Reviewer2".to_owned(), 4)])
}

fn answer(id: u32, ratings: &Ratings) -> Response {
    Json(json!({ "id": id, "ratings": ratings })).into_response()
}
