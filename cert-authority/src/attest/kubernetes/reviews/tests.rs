use super::*;

/// A client that is never asked.
fn reviews() -> Reviews {
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    Reviews::new(Client::try_from(config).unwrap(), "weir-system")
}

fn status(json: serde_json::Value) -> TokenReviewStatus {
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn reviews_judge_by_audience_account_and_node() {
    let reviews = reviews();
    let account = |name: &str| format!("system:serviceaccount:{name}");
    let node = serde_json::json!({ NODE_CLAIM: ["node-1"] });
    let good = |name: &str, extra: &serde_json::Value| {
        status(serde_json::json!({
            "authenticated": true, "audiences": ["weir"], "user": {"username": account(name), "extra": extra},
        }))
    };
    let judged = |status| reviews.judge(status).map_err(|error| error.to_string());
    let refused = |status, words: &str| {
        let shown = judged(status).unwrap_err();
        assert!(shown.contains(words), "{shown}");
    };
    assert_eq!(judged(good("weir-system:mesh-operator", &serde_json::json!({}))), Ok(Caller::Operator));
    let expected = Caller::Node(NodeName::new("node-1").unwrap());
    assert_eq!(judged(good("weir-system:mesh-node", &node)), Ok(expected));
    refused(good("weir-system:mesh-node", &serde_json::json!({})), "Kubernetes 1.30");
    refused(good("weir-system:mesh-node", &serde_json::json!({ NODE_CLAIM: ["a", "b"] })), "Kubernetes 1.30");
    refused(good("other:mesh-node", &node), "`system:serviceaccount:other:mesh-node` is neither");
    refused(good("weir-system:cert-authority", &node), "is neither");
    let mut other = good("weir-system:mesh-node", &node);
    other.audiences = Some(vec!["https://kubernetes.default.svc".into()]);
    refused(other.clone(), "not of audience `weir`");
    other.audiences = None;
    refused(other, "not of audience `weir`");
    refused(status(serde_json::json!({"error": "token has expired"})), "token has expired");
}

#[tokio::test]
async fn reviews_are_remembered_for_a_while_and_within_a_bound() {
    let reviews = reviews();
    let start = Instant::now();
    for index in 0..CACHE_SIZE as u64 + 1 {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&index.to_be_bytes());
        reviews.remember(key, start, Caller::Operator);
    }
    assert_eq!(reviews.known.lock().unwrap().len(), CACHE_SIZE);
    assert_eq!(reviews.known(&[0; 32], start), Some(Caller::Operator));
    assert_eq!(reviews.known(&[0; 32], start + CACHE_TIME), None);
    reviews.remember([1; 32], start + CACHE_TIME, Caller::Operator);
    assert_eq!(reviews.known.lock().unwrap().len(), 1, "old answers make room");
}

#[test]
fn reviews_are_asked_for_what_may_be_a_token() {
    for (text, expected) in [
        ("a.b-_.c", true),
        ("", false),
        ("a.b", false),
        ("a.b.c.d", false),
        ("a..c", false),
        ("a.b c.d", false),
    ] {
        assert_eq!(may_be_token(text), expected, "{text}");
    }
}
