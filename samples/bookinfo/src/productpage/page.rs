//! The HTML of the product page. Whatever came from outside goes through [`escape`]; the style is inline, so that the
//! page needs nothing but itself.

use serde_json::Value;

use super::{SUMMARY, TITLE, unavailable};
use crate::instance::Instance;
use crate::reviews::{Color, Rating, Review, Reviews};
use crate::upstream::{FetchError, Fetched};

const STYLE: &str = include_str!("style.css");
const MAX_STARS: u8 = 5;
/// What the page shows of the details, in this order.
const FACTS: [(&str, &str); 8] = [
    ("author", "Author"),
    ("year", "Year"),
    ("type", "Binding"),
    ("pages", "Pages"),
    ("publisher", "Publisher"),
    ("language", "Language"),
    ("ISBN-10", "ISBN-10"),
    ("ISBN-13", "ISBN-13"),
];

#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) instance: &'a Instance,
    pub(super) user: Option<&'a str>,
    pub(super) details: Result<Fetched<Value>, FetchError>,
    pub(super) reviews: Result<Fetched<Reviews>, FetchError>,
}

impl Page<'_> {
    pub(super) fn render(&self) -> String {
        let session = self.session();
        let details = match &self.details {
            Ok(fetched) => facts(&fetched.value),
            Err(error) => failure("details", error),
        };
        let reviews = match &self.reviews {
            Ok(fetched) => {
                let cards: String = fetched.value.reviews.iter().map(card).collect();
                format!("<div class=\"cards\">{cards}</div>")
            }
            Err(error) => failure("reviews", error),
        };
        let badge = self.reviews_badge();
        let answers = self.answers();
        format!(
            r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE} · Bookinfo</title>
<style>{STYLE}</style>
</head>
<body>
<header class="bar"><div class="wrap">
<a class="brand" href="/productpage"><span aria-hidden="true">❧</span> Bookinfo</a>
{session}
</div></header>
<main class="wrap">
<section class="book">
<div class="cover" aria-hidden="true"><i>William Shakespeare</i><b>The Comedy<br>of Errors</b><span>❦</span></div>
<div class="about">
<h1>{TITLE}</h1>
<p class="summary">{SUMMARY}</p>
<h2>Book Details</h2>
{details}
</div>
</section>
<section>
<div class="heading"><h2>Book Reviews</h2>{badge}</div>
{reviews}
</section>
</main>
<footer><div class="wrap">
<h2>Who answered this page</h2>
{answers}
<p class="hint">Reload to see another version answer, once a route says so.</p>
</div></footer>
</body>
</html>
"#
        )
    }

    fn session(&self) -> String {
        match self.user {
            Some(user) => format!(
                r#"<div class="session"><span>Signed in as <b>{}</b></span><a class="button" href="/logout">Sign out</a></div>"#,
                escape(user)
            ),
            None => r#"<form class="session" method="post" action="/login"><input name="username" required maxlength="32" pattern="[A-Za-z0-9._\-]+" placeholder="try jason" aria-label="User name" autocomplete="username"><button class="button">Sign in</button></form>"#
                .to_owned(),
        }
    }

    fn reviews_badge(&self) -> String {
        let Ok(fetched) = &self.reviews else { return String::new() };
        let reviews = &fetched.value;
        format!(
            r#"<span class="badge {kind}">reviews-{version}</span><span class="pod">{pod}</span>"#,
            kind = match reviews.version.as_str() {
                "v1" => "plain",
                "v2" => "black",
                "v3" => "red",
                _ => "other",
            },
            version = escape(&reviews.version),
            pod = escape(&reviews.podname),
        )
    }

    fn answers(&self) -> String {
        let own = row("productpage", Some(self.instance.name()), Some(self.instance.pod()));
        let details = match &self.details {
            Ok(fetched) => row("details", fetched.version.as_deref(), fetched.pod.as_deref()),
            Err(_) => row("details", None, None),
        };
        let reviews = match &self.reviews {
            Ok(fetched) => {
                let version = format!("reviews-{}", fetched.value.version);
                row("reviews", Some(&version), Some(&fetched.value.podname))
            }
            Err(_) => row("reviews", None, None),
        };
        format!("<ol class=\"answers\">{own}{details}{reviews}</ol>")
    }
}

fn facts(details: &Value) -> String {
    let rows: String = FACTS
        .iter()
        .filter_map(|(key, label)| {
            let text = match details.get(key)? {
                Value::String(text) => escape(text),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            Some(format!("<div><dt>{label}</dt><dd>{text}</dd></div>"))
        })
        .collect();
    format!("<dl class=\"facts\">{rows}</dl>")
}

fn card(review: &Review) -> String {
    let rating = match &review.rating {
        Some(Rating::Stars { stars, color }) => stars_of(*stars, *color),
        Some(Rating::Missing { error }) => format!("<p class=\"norating\">{}</p>", escape(error)),
        None => String::new(),
    };
    format!(
        "<figure class=\"card\">{rating}<blockquote>{}</blockquote><figcaption>{}</figcaption></figure>",
        escape(&review.text),
        escape(&review.reviewer),
    )
}

fn stars_of(stars: u8, color: Color) -> String {
    let full = stars.min(MAX_STARS);
    format!(
        r#"<p class="stars {class}" role="img" aria-label="{full} of {MAX_STARS} stars">{}<span>{}</span></p>"#,
        "★".repeat(full.into()),
        "★".repeat((MAX_STARS - full).into()),
        class = match color {
            Color::Black => "black",
            Color::Red => "red",
        },
    )
}

fn failure(what: &str, error: &FetchError) -> String {
    format!(
        r#"<div class="failure" role="alert"><h3>Error fetching product {what}!</h3><p>{}</p><p class="why">{what}: {}</p></div>"#,
        unavailable(what),
        escape(&error.to_string()),
    )
}

fn row(service: &str, version: Option<&str>, pod: Option<&str>) -> String {
    let (class, answer) = match version {
        Some(version) => ("", escape(version)),
        None => (" class=\"silent\"", format!("{service}: failed")),
    };
    format!("<li{class}><b>{answer}</b><span>{}</span></li>", escape(pod.unwrap_or("–")))
}

/// Makes a text safe inside an element and inside a quoted attribute.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Version;
    use crate::instance::Service;

    #[test]
    fn page_escapes_whatever_came_from_outside() {
        let evil = r#"<script>'"&"#;
        let details = serde_json::json!({ "author": evil, "pages": 200, "type": [evil] });
        let reviews = serde_json::from_value(serde_json::json!({
            "id": "0", "podname": evil, "version": evil, "clustername": null,
            "reviews": [
                { "reviewer": evil, "text": evil, "rating": { "stars": 200, "color": "red" } },
                { "reviewer": evil, "text": evil, "rating": { "error": evil } },
            ],
        }))
        .unwrap();
        let evil_name = || Some(evil.to_owned());
        let html = Page {
            instance: &Instance::new(Service::Productpage, Version::V1, evil),
            user: Some(evil),
            details: Ok(Fetched { value: details, version: evil_name(), pod: evil_name() }),
            reviews: Ok(Fetched { value: reviews, version: evil_name(), pod: evil_name() }),
        }
        .render();
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches("&lt;script&gt;&#39;&quot;&amp;").count(), 14);
        assert!(html.contains(">★★★★★<span></span>"), "more stars than there are: {html}");
    }
}
