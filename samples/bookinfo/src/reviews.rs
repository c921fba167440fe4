//! What readers wrote about a book. v1 shows no stars; v2 shows black ones and v3 red ones, which they ask ratings for.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::cli::{HttpUrl, Version};
use crate::forward::forwarded;
use crate::instance::Instance;
use crate::reply::{self, NotAProduct};
use crate::upstream::{Dependency, Upstream};

/// The service's answer, as it writes it and productpage reads it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reviews {
    pub(crate) id: String,
    pub(crate) podname: String,
    pub(crate) clustername: Option<String>,
    pub(crate) version: String,
    pub(crate) reviews: Vec<Review>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Review {
    pub(crate) reviewer: String,
    pub(crate) text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rating: Option<Rating>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Rating {
    Stars { stars: u8, color: Color },
    Missing { error: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Color {
    Black,
    Red,
}

#[derive(Debug, Deserialize)]
struct Ratings {
    ratings: BTreeMap<String, u8>,
}

const WRITTEN: [(&str, &str); 2] = [
    (
        "Reviewer1",
        "Two pairs of twins, one bewildered town and not a dull scene. The quickest, funniest evening Shakespeare ever \
         wrote.",
    ),
    (
        "Reviewer2",
        "Great fun from the first mix-up to the last. Do not come for depth, though: the later comedies have far more \
         to say.",
    ),
];

#[derive(Debug, Clone)]
struct Shop {
    instance: Instance,
    cluster: Option<String>,
    ratings: Upstream,
}

pub(crate) fn router(instance: &Instance, ratings: &HttpUrl) -> Router {
    let shop = Shop {
        instance: instance.clone(),
        cluster: std::env::var("CLUSTER_NAME").ok(),
        ratings: Upstream::new(Dependency::Ratings, ratings),
    };
    Router::new()
        .route("/health", get(async || reply::healthy("Reviews")))
        .route("/reviews/{id}", get(reviews))
        .with_state(shop)
}

async fn reviews(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Reviews>, NotAProduct> {
    let id = reply::product_id(&id)?;
    let color = match shop.instance.version() {
        Version::V1 => None,
        Version::V2 => Some(Color::Black),
        Version::V3 => Some(Color::Red),
    };
    let ratings = match color {
        Some(_) => shop.ratings.get::<Ratings>(id, &forwarded(&headers)).await.ok(),
        None => None,
    };
    let rating = |reviewer: &str| {
        let stars = ratings.as_ref().and_then(|fetched| fetched.value.ratings.get(reviewer));
        color.map(|color| match stars {
            Some(stars) => Rating::Stars { stars: *stars, color },
            None => Rating::Missing { error: "Ratings service is currently unavailable".to_owned() },
        })
    };
    let reviews = WRITTEN.map(|(reviewer, text)| Review {
        reviewer: reviewer.to_owned(),
        text: text.to_owned(),
        rating: rating(reviewer),
    });
    Ok(Json(Reviews {
        id: id.to_string(),
        podname: shop.instance.pod().to_owned(),
        clustername: shop.cluster.clone(),
        version: shop.instance.version().as_str().to_owned(),
        reviews: reviews.into(),
    }))
}
