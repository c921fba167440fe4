//! The standard health check of gRPC servers (grpc.health.v1), which a kubelet's `grpc` probe asks. Nothing else here
//! speaks gRPC: the one answer that there is, SERVING, is the same bytes every time.

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};

pub(crate) const GRPC_PATH: &str = "/grpc.health.v1.Health/Check";
/// A message of two bytes, not compressed: field 1 (status) is 1 (SERVING).
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x01];

pub(crate) fn router() -> Router {
    Router::new().route(GRPC_PATH, post(check))
}

async fn check() -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from_static(SERVING)).with_trailers(async { Some(Ok(trailers)) });
    ([(CONTENT_TYPE, "application/grpc")], Body::new(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use tower::ServiceExt;

    #[tokio::test]
    async fn grpc_health_check_says_serving_and_ends_with_status_ok() {
        let request = Request::post(GRPC_PATH).body(Body::empty()).unwrap();
        let response = router().oneshot(request).await.unwrap();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
        let whole = response.into_body().collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(whole.to_bytes(), SERVING);
    }
}
