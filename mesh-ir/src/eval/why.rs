//! Why a request took the rule that it took: the matches that were tried before it, and the first thing that each of
//! them did not find. For people; the proxy never asks.

use std::fmt;

use http::header::CONTENT_TYPE;

use super::{Flow, Target};
use crate::view::{
    HeaderText, Match, MeshView, Mismatch, RequestHead, RouteTable, Routes, Wanted, header_text, query_text,
};

/// A match that was tried for a request.
#[derive(Clone, Debug)]
pub struct Tried<'v> {
    pub matched: Match<'v>,
    /// `None` for the one that took the request.
    pub miss: Option<Miss>,
}

/// What a match looked at, what stood there, and what it wanted instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// `path`, `method`, `header end-user`, `query parameter v`.
    pub subject: String,
    /// `"bob"`, or `absent`.
    pub found: String,
    /// `exact "jason"`.
    pub wanted: String,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, wants {}", self.subject, self.found, self.wanted)
    }
}

/// The matches that [`route`](super::route) tries for a request, in their order.
pub fn tried<'v>(view: &'v MeshView, flow: &Flow<'_>) -> Vec<Tried<'v>> {
    let tables: Vec<&RouteTable> = match flow.target {
        Target::Service { client, service, port } => {
            let routes = view.service_port(service, port).and_then(|port| port.routes(client));
            routes.and_then(Routes::of_requests).into_iter().collect()
        }
        Target::Gateway { target_port, sni } => view
            .gateway_port(target_port)
            .and_then(|port| port.listener(Some(sni.unwrap_or(flow.request.host))))
            .map(|listener| listener.tables(flow.request.host).collect())
            .unwrap_or_default(),
    };
    let mut all = Vec::new();
    for table in tables {
        for (matched, mismatch) in table.tried(&flow.request) {
            let miss = mismatch.map(|mismatch| Miss::new(&mismatch, &flow.request));
            let took = miss.is_none();
            all.push(Tried { matched, miss });
            if took {
                return all;
            }
        }
    }
    all
}

impl Miss {
    fn new(mismatch: &Mismatch<'_>, request: &RequestHead<'_>) -> Self {
        let (subject, found, wanted) = match *mismatch {
            Mismatch::NoCall => {
                let found = match header_text(request.headers, &CONTENT_TYPE) {
                    HeaderText::Text(text) => format!("{text:?}"),
                    HeaderText::Absent => "absent".into(),
                    HeaderText::NotText => "not text".into(),
                };
                ("header content-type".into(), found, "a call of gRPC, application/grpc".into())
            }
            Mismatch::Method(method) => ("method".into(), request.method.to_string(), method.to_string()),
            Mismatch::Path(wanted) => ("path".into(), request.path.to_owned(), in_path(wanted)),
            Mismatch::Header(name, wanted) => {
                let found = match header_text(request.headers, name) {
                    HeaderText::Absent => "absent".into(),
                    HeaderText::NotText => "not text".into(),
                    HeaderText::Text(text) => format!("{text:?}"),
                };
                (format!("header {name}"), found, value(wanted))
            }
            Mismatch::Query(name, wanted) => {
                let found = query_text(request.query, name);
                let found = found.map_or_else(|| "absent".into(), |text| format!("{text:?}"));
                (format!("query parameter {name}"), found, value(wanted))
            }
        };
        Self { subject, found, wanted }
    }
}

fn in_path(wanted: Wanted<'_>) -> String {
    match wanted {
        Wanted::Exact(path) => format!("exactly {path}"),
        Wanted::Prefix("") => "prefix /".into(),
        Wanted::Prefix(path) => format!("prefix {path}"),
        Wanted::Regex(pattern) => format!("regex {pattern}"),
    }
}

fn value(wanted: Wanted<'_>) -> String {
    match wanted {
        Wanted::Exact(text) => format!("exact {text:?}"),
        Wanted::Prefix(text) => format!("prefix {text:?}"),
        Wanted::Regex(pattern) => format!("regex {pattern:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Delta;
    use crate::eval::route;
    use crate::resource::Resource;
    use http::{HeaderMap, Method};
    use serde_json::json;

    #[test]
    fn tried_names_the_first_thing_that_each_match_did_not_find() {
        let matches = json!([
            {"path": {"Exact": "/exact"}},
            {"path": {"Regex": "/[0-9]+"}},
            {"path": {"Prefix": "/a/b"}},
            {"path": {"Prefix": "/a"}, "method": "POST"},
            {"path": {"Prefix": "/a"}, "headers": [{"name": "end-user", "value": {"Exact": "jason"}}],
                "query": [{"name": "v", "value": {"Exact": "1"}}]},
            {"path": {"Prefix": "/a"}, "headers": [{"name": "end-user", "value": {"Regex": "b.*"}}]},
            {"path": {"Prefix": "/a"}, "query": [{"name": "v", "value": {"Exact": "3"}}]},
            {"path": {"Prefix": "/"}},
            {"path": {"Prefix": "/"}, "headers": [{"name": "late", "value": {"Exact": "x"}}]},
        ]);
        let resources: Vec<Resource> = serde_json::from_value(json!([
            {"kind": "Service", "name": "shop/web", "addresses": [], "ports": [{"port": 80, "protocol": "Http"}]},
            {"kind": "Route", "key": {"kind": "Http", "name": "shop/web"}, "created": 0,
                "parents": [{"Service": {"service": "shop/web"}}], "rules": [{"matches": matches}]},
        ]))
        .unwrap();
        let upserts = resources.into_iter().map(std::sync::Arc::new).collect();
        let view = MeshView::default().apply(&Delta { upserts, removes: Vec::new() });
        let mut headers = HeaderMap::new();
        let check = |headers: &HeaderMap, query: Option<&str>, expected: &[&str]| {
            let request = RequestHead { method: &Method::GET, path: "/a", query, host: "web", headers };
            let service = "shop/web".parse().unwrap();
            let target = Target::Service { client: None, service: &service, port: 80 };
            let flow = Flow { target, request };
            let tried = tried(&view, &flow);
            let misses: Vec<String> =
                tried.iter().filter_map(|tried| Some(tried.miss.as_ref()?.to_string())).collect();
            assert_eq!(misses, expected);
            let taken = tried.last().filter(|tried| tried.miss.is_none()).map(|tried| tried.matched.matcher);
            let decided = route(&view, &flow).matched.map(|matched| matched.matcher);
            assert!(taken.zip(decided).is_some_and(|(a, b)| std::ptr::eq(a, b)));
        };
        let paths = [
            "path is /a, wants exactly /exact",
            "path is /a, wants regex /[0-9]+",
            "path is /a, wants prefix /a/b",
            "method is GET, wants POST",
        ];
        let rest = [
            "header end-user is absent, wants exact \"jason\"",
            "header end-user is absent, wants regex \"b.*\"",
            "query parameter v is absent, wants exact \"3\"",
            "header late is absent, wants exact \"x\"",
        ];
        check(&headers, None, &[&paths[..], &rest].concat());
        headers.insert("end-user", "jason".parse().unwrap());
        let rest = [
            "query parameter v is \"2\", wants exact \"1\"",
            "header end-user is \"jason\", wants regex \"b.*\"",
            "query parameter v is \"2\", wants exact \"3\"",
            "header late is absent, wants exact \"x\"",
        ];
        check(&headers, Some("v=2"), &[&paths[..], &rest].concat());
        headers.insert("end-user", "bob".parse().unwrap());
        check(
            &headers,
            Some("v=2"),
            &[&paths[..], &["header end-user is \"bob\", wants exact \"jason\""]].concat(),
        );
    }
}
