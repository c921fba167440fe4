//! What the services answer, to each other and to a person.

use super::*;
use crate::forward::FORWARDED;

#[tokio::test]
async fn page_shows_stars_by_version_of_reviews() {
    for (version, name, stars) in [
        (Version::V1, "reviews-v1", None),
        (Version::V2, "reviews-v2", Some("stars black")),
        (Version::V3, "reviews-v3", Some("stars red")),
    ] {
        let shop = shop(version);
        let page = get(shop.productpage.at("/productpage")).await;
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(page.headers["x-bookinfo-version"], "productpage-v1");
        assert_eq!(page.headers["x-bookinfo-pod"], "productpage-pod");
        for wanted in ["The Comedy of Errors", "William Shakespeare", name, "reviews-pod", "details-v1"] {
            assert!(page.text.contains(wanted), "{wanted:?} is missing with {name}");
        }
        for class in ["stars black", "stars red"] {
            let times = if stars == Some(class) { 2 } else { 0 };
            assert_eq!(page.text.matches(class).count(), times, "{class:?} with {name}");
        }
        if stars.is_some() {
            assert!(page.text.contains("5 of 5 stars") && page.text.contains("4 of 5 stars"));
        }
        assert!(!page.text.contains("Error fetching") && !page.text.contains("unavailable"));
    }
}

#[tokio::test]
async fn api_answers_as_the_original() {
    let shop = shop(Version::V3);
    let details = get(shop.details.at("/details/0")).await;
    assert_eq!(details.json()["ISBN-13"], "123-1234567890");
    assert_eq!(details.headers["x-bookinfo-version"], "details-v1");

    let reviews = get(shop.reviews.at("/reviews/0")).await;
    assert_eq!(reviews.headers["x-bookinfo-version"], "reviews-v3");
    let body = reviews.json();
    assert_eq!(
        (&body["id"], &body["podname"], &body["version"]),
        (&"0".into(), &"reviews-pod".into(), &"v3".into())
    );
    assert_eq!(body["reviews"][1]["rating"], serde_json::json!({ "stars": 4, "color": "red" }));

    let ratings = get(shop.ratings.at("/ratings/0")).await;
    assert_eq!(ratings.json(), serde_json::json!({ "id": 0, "ratings": { "Reviewer1": 5, "Reviewer2": 4 } }));

    let page = &shop.productpage;
    assert_eq!(get(page.at("/api/v1/products")).await.json()[0]["title"], "The Comedy of Errors");
    assert_eq!(get(page.at("/api/v1/products/0")).await.json(), details.json());
    assert_eq!(get(page.at("/api/v1/products/0/reviews")).await.json(), body);
    assert_eq!(get(page.at("/api/v1/products/0/ratings")).await.json(), ratings.json());
    assert_eq!(get(page.at("/")).await.headers["location"], "/productpage");
    for server in [&shop.productpage, &shop.details, &shop.reviews, &shop.ratings] {
        let health = get(server.at("/health")).await;
        assert_eq!(health.status, StatusCode::OK);
        assert!(health.json()["status"].as_str().unwrap().ends_with("is healthy"));
    }
}

#[tokio::test]
async fn api_errors_are_json_and_name_who_answered() {
    let shop = shop(Version::V1);
    for (url, status) in [
        (shop.details.at("/details/first"), 400),
        (shop.reviews.at("/reviews/-1"), 400),
        (shop.ratings.at("/ratings/%3Cb%3E"), 400),
        (shop.productpage.at("/api/v1/products/x"), 400),
        (shop.details.at("/nothing"), 404),
    ] {
        let answer = get(url.clone()).await;
        assert_eq!(answer.status, status, "{url}");
        assert!(answer.json()["error"].is_string(), "{url}");
        assert!(answer.headers.contains_key("x-bookinfo-version"), "{url}");
    }
    let refused = post(shop.details.at("/details/0"), "").await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.json()["error"], "POST is not served at /details/0");
}

#[tokio::test]
async fn ratings_keep_what_was_posted() {
    let shop = shop(Version::V2);
    let posted = post(shop.ratings.at("/ratings/0"), r#"{"Reviewer1": 1, "Reviewer2": 2}"#).await;
    assert_eq!(posted.status, StatusCode::OK);
    assert!(get(shop.productpage.at("/productpage")).await.text.contains("1 of 5 stars"));
    for wrong in [r#"{"Reviewer1": 6}"#, "[]", "no JSON"] {
        assert_eq!(
            post(shop.ratings.at("/ratings/0"), wrong).await.status,
            StatusCode::BAD_REQUEST,
            "{wrong}"
        );
    }
    assert_eq!(
        post(shop.ratings.at("/ratings/0"), &" ".repeat(5000)).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn page_says_which_dependency_failed() {
    let whole = shop(Version::V2);
    let lame = page_over(&nowhere(), &nowhere(), &nowhere());
    let page = get(lame.at("/productpage")).await;
    assert_eq!(page.status, StatusCode::OK);
    for wanted in [
        "Error fetching product details!",
        "Error fetching product reviews!",
        "Sorry, product reviews are currently unavailable for this book.",
    ] {
        assert!(page.text.contains(wanted), "{wanted:?} is missing");
    }
    let api = get(lame.at("/api/v1/products/0/reviews")).await;
    assert_eq!(api.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.json()["error"], "Sorry, product reviews are currently unavailable for this book.");

    // Reviews without ratings still answers, and the page shows the reviews.
    let without_ratings =
        start(Service::Reviews, Version::V2, |instance| reviews::router(instance, &nowhere()));
    let page = page_over(&whole.details.url(), &without_ratings.url(), &nowhere());
    let page = get(page.at("/productpage")).await;
    assert_eq!(page.text.matches("Ratings service is currently unavailable").count(), 2);
    assert!(page.text.contains("Reviewer2") && !page.text.contains("Error fetching"));
}

#[tokio::test]
async fn api_passes_an_error_status_on_and_calls_nonsense_a_bad_gateway() {
    let shop = shop(Version::V1);
    // Details knows no /reviews: its 404 is passed on. An echo answers 200, but with something else than reviews.
    let echo = echo_server();
    let page = page_over(&shop.details.url(), &shop.details.url(), &shop.ratings.url());
    assert_eq!(get(page.at("/api/v1/products/0/reviews")).await.status, StatusCode::NOT_FOUND);
    let page = page_over(&shop.details.url(), &echo.url(), &shop.ratings.url());
    let page = get(page.at("/productpage")).await;
    assert!(page.text.contains("answer not understood"), "{}", page.text);
}

#[tokio::test]
async fn slow_dependency_is_given_up() {
    let slow = start_slow(Service::Details, Version::V1, Duration::from_secs(30), |_| details::router());
    let page = page_over(&slow.url(), &nowhere(), &nowhere());
    let start = std::time::Instant::now();
    let answer = get(page.at("/api/v1/products/0")).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert!((2..6).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn headers_of_the_trace_and_the_user_are_passed_on() {
    // An echo in the place of ratings, asked through productpage's API; reviews passes on by the same function.
    let echo = echo_server();
    let page = page_over(&nowhere(), &nowhere(), &echo.url());
    let mut sent: Vec<(&str, &str)> = FORWARDED.iter().map(|name| (*name, "v-1")).collect();
    sent.push(("x-version", "v3"));
    let seen = get_with(page.at("/api/v1/products/0/ratings"), &sent).await.json();
    assert_eq!(seen["path"], "/ratings/0");
    for name in FORWARDED {
        assert_eq!(seen["headers"][name], "v-1", "{name}");
    }
    assert_eq!(seen["headers"]["x-version"], Value::Null);
    assert_eq!(seen["headers"]["host"], echo.address.to_string());

    // Through reviews: what reaches ratings comes from productpage's own client.
    let (heard, mut hear) = tokio::sync::mpsc::channel(1);
    let ratings = start(Service::Ratings, Version::V1, |_| {
        let answer = async move |headers: HeaderMap| {
            heard.send(headers).await.unwrap();
            r#"{"id": 0, "ratings": {"Reviewer1": 3}}"#
        };
        Router::new().route("/ratings/{id}", axum::routing::get(answer))
    });
    let reviews = start(Service::Reviews, Version::V2, |instance| reviews::router(instance, &ratings.url()));
    let page = page_over(&nowhere(), &reviews.url(), &nowhere());
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let shown = get_with(page.at("/productpage"), &[("traceparent", trace), ("end-user", "jason")]).await;
    let heard = hear.recv().await.unwrap();
    assert_eq!(
        (&heard["traceparent"], &heard["end-user"]),
        (&trace.parse().unwrap(), &"jason".parse().unwrap())
    );
    // A reader whom ratings does not know has no stars; the other has three.
    assert!(
        shown.text.contains("3 of 5 stars")
            && shown.text.contains("Ratings service is currently unavailable")
    );
}

#[tokio::test]
async fn sign_in_names_the_user_to_the_services_behind() {
    let echo = echo_server();
    let page = page_over(&nowhere(), &nowhere(), &echo.url());
    let answer = post(page.at("/login"), "username=jason&passwd=x").await;
    assert_eq!(
        (answer.status, &answer.headers["location"]),
        (StatusCode::SEE_OTHER, &"/productpage".parse().unwrap())
    );
    let cookie = answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(cookie, "user=jason");

    let seen = get_with(page.at("/api/v1/products/0/ratings"), &[("cookie", &cookie)]).await.json();
    assert_eq!(seen["headers"]["end-user"], "jason");
    assert!(
        get_with(page.at("/productpage"), &[("cookie", &cookie)])
            .await
            .text
            .contains("Signed in as <b>jason</b>")
    );
    assert!(get(page.at("/logout")).await.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    for wrong in ["username=a%0d%0ab", "username=", "name=jason"] {
        assert_eq!(post(page.at("/login"), wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn stop_finishes_the_request_in_flight() {
    let (arrived, mut arrive) = tokio::sync::mpsc::channel(1);
    let (go, gone) = tokio::sync::watch::channel(false);
    let slow = start(Service::Details, Version::V1, |_| {
        let answer = async move || {
            arrived.send(()).await.unwrap();
            gone.clone().wait_for(|go| *go).await.unwrap();
            "finished"
        };
        Router::new().route("/", axum::routing::get(answer))
    });
    let address = slow.address;
    let in_flight = tokio::spawn(get(slow.at("/")));
    arrive.recv().await.unwrap();
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    let stopped = slow.stop();
    // The idle connection is closed at the stop, without waiting for the other.
    idle.readable().await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "still listening after the stop");
    assert!(!stopped.is_finished());
    go.send_replace(true);
    assert_eq!(in_flight.await.unwrap().text, "finished");
    stopped.await.unwrap();
}
