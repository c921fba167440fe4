//! The service that a person visits: it asks details and reviews and shows what they say, or that they did not. Also the
//! JSON API over the same data, and a sign-in that does nothing but name the user in `end-user`.

mod page;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use self::page::Page;
use crate::cli::HttpUrl;
use crate::forward::forwarded;
use crate::instance::Instance;
use crate::reply::{self, NotAProduct};
use crate::upstream::{Dependency, FetchError, Fetched, Upstream};

pub(crate) const TITLE: &str = "The Comedy of Errors";
pub(crate) const SUMMARY: &str = "Two pairs of twins, parted by a shipwreck, end up in the same town without knowing it. One of \
    Shakespeare’s first plays and his shortest: a farce of slapstick, puns and mistaken identity.";

/// The page shows this one product.
const PRODUCT: u32 = 0;
const MAX_BODY: usize = 1024;
const MAX_USER: usize = 32;
const PAGE_HEADERS: [(header::HeaderName, &str); 3] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

#[derive(Debug, Clone)]
struct Shop {
    instance: Instance,
    details: Upstream,
    reviews: Upstream,
    ratings: Upstream,
}

pub(crate) fn router(instance: &Instance, details: &HttpUrl, reviews: &HttpUrl, ratings: &HttpUrl) -> Router {
    let shop = Shop {
        instance: instance.clone(),
        details: Upstream::new(Dependency::Details, details),
        reviews: Upstream::new(Dependency::Reviews, reviews),
        ratings: Upstream::new(Dependency::Ratings, ratings),
    };
    Router::new()
        .route("/", get(async || Redirect::temporary("/productpage")))
        .route("/health", get(async || reply::healthy("Product page")))
        .route("/productpage", get(product_page))
        .route("/login", post(log_in))
        .route("/logout", get(log_out))
        .route("/api/v1/products", get(products))
        .route("/api/v1/products/{id}", get(product))
        .route("/api/v1/products/{id}/reviews", get(product_reviews))
        .route("/api/v1/products/{id}/ratings", get(product_ratings))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shop)
}

async fn product_page(State(shop): State<Shop>, incoming: HeaderMap) -> Response {
    let headers = outgoing(&incoming);
    let (details, reviews) =
        tokio::join!(shop.details.get(PRODUCT, &headers), shop.reviews.get(PRODUCT, &headers));
    let user = headers.get("end-user").and_then(|user| user.to_str().ok());
    let page = Page { instance: &shop.instance, user, details, reviews };
    let mut response = Html(page.render()).into_response();
    for (name, value) in PAGE_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn products() -> Response {
    Json(json!([{ "id": PRODUCT, "title": TITLE, "descriptionHtml": SUMMARY }])).into_response()
}

async fn product(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, NotAProduct> {
    Ok(pass_on(&shop.details, "details", reply::product_id(&id)?, &headers).await)
}

async fn product_reviews(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, NotAProduct> {
    Ok(pass_on(&shop.reviews, "reviews", reply::product_id(&id)?, &headers).await)
}

async fn product_ratings(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, NotAProduct> {
    Ok(pass_on(&shop.ratings, "ratings", reply::product_id(&id)?, &headers).await)
}

async fn pass_on(upstream: &Upstream, what: &str, id: u32, incoming: &HeaderMap) -> Response {
    let fetched: Result<Fetched<Value>, FetchError> = upstream.get(id, &outgoing(incoming)).await;
    match fetched {
        Ok(fetched) => Json(fetched.value).into_response(),
        Err(error) => reply::error(error.status(), &unavailable(what)),
    }
}

/// The original's apology.
fn unavailable(what: &str) -> String {
    format!("Sorry, product {what} are currently unavailable for this book.")
}

/// The headers for the services behind: those that travel on, and `end-user` for who has signed in here.
fn outgoing(incoming: &HeaderMap) -> HeaderMap {
    let mut headers = forwarded(incoming);
    if !headers.contains_key("end-user")
        && let Some(user) = signed_in(incoming)
    {
        headers.insert("end-user", user);
    }
    headers
}

fn signed_in(incoming: &HeaderMap) -> Option<HeaderValue> {
    let cookies = incoming.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';'));
    let user = pairs.find_map(|pair| pair.trim().strip_prefix("user="))?;
    if is_user_name(user) { HeaderValue::from_str(user).ok() } else { None }
}

/// Narrow enough that a name is the same in a form, a cookie and a header.
fn is_user_name(text: &str) -> bool {
    (1..=MAX_USER).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

async fn log_in(form: Bytes) -> Response {
    let form = String::from_utf8_lossy(&form);
    match form.split('&').find_map(|field| field.strip_prefix("username=")) {
        Some(user) if is_user_name(user) => to_page(&format!("user={user}; Path=/; HttpOnly; SameSite=Lax")),
        _ => reply::error(
            StatusCode::BAD_REQUEST,
            "username must be 1 to 32 letters, digits, dots, dashes and underscores",
        ),
    }
}

async fn log_out() -> Response {
    to_page("user=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0")
}

fn to_page(cookie: &str) -> Response {
    let mut response = Redirect::to("/productpage").into_response();
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
