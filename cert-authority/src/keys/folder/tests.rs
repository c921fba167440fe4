use super::*;

fn domain(name: &str) -> TrustDomain {
    TrustDomain::new(name).unwrap()
}

#[test]
fn keys_are_made_once_and_the_intermediate_anew_at_half_of_its_life() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path(), domain("cluster.local")).unwrap();
    let now = SystemTime::now();
    let first = state.keys(now).unwrap();
    for file in ["root.pem", "intermediate.pem"] {
        let mode = fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    drop(state);
    let state = State::open(folder.path(), domain("cluster.local")).unwrap();
    let again = state.keys(now + 100 * DAY).unwrap();
    assert_eq!(again.bundle, first.bundle);
    assert_eq!(again.signer.certificate, first.signer.certificate);
    let later = state.keys(now + 200 * DAY).unwrap();
    assert_eq!(later.bundle, first.bundle);
    assert_ne!(later.signer.certificate, first.signer.certificate);
    let error = state.keys(now + ROOT_LIFE + DAY).unwrap_err().to_string();
    assert!(error.contains("root has expired"), "{error}");
}

#[test]
fn keys_that_do_not_fit_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    let problem = |trust_domain: &str| {
        let state = State::open(folder.path(), domain(trust_domain)).unwrap();
        state.keys(SystemTime::now()).unwrap_err().to_string()
    };
    State::open(folder.path(), domain("cluster.local")).unwrap().keys(SystemTime::now()).unwrap();
    let good = fs::read_to_string(&root).unwrap();
    let shown = problem("other.test");
    assert!(shown.contains("root.pem") && shown.contains("--trust-domain"), "{shown}");
    let certificate = &good[good.find("-----BEGIN CERTIFICATE").unwrap()..];
    fs::write(&root, certificate).unwrap();
    assert!(problem("cluster.local").contains("no private key"));
    let foreign = KeyPair::generate().unwrap().serialize_pem() + certificate;
    fs::write(&root, &foreign).unwrap();
    assert!(problem("cluster.local").contains("not its certificate's"));
    assert_eq!(fs::read_to_string(&root).unwrap(), foreign);
}

#[test]
fn keys_state_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let held = State::open(folder.path(), domain("cluster.local")).unwrap();
    let error = State::open(folder.path(), domain("cluster.local")).unwrap_err();
    assert!(matches!(error, KeysError::InUse { .. }), "{error}");
    drop(held);
    State::open(folder.path(), domain("cluster.local")).unwrap();
}

#[test]
fn keys_other_roots_join_the_bundle_and_bad_ones_do_not_stop_it() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let other = State::open(theirs.path(), domain("cluster.local")).unwrap().keys(SystemTime::now()).unwrap();
    let state = State::open(ours.path(), domain("cluster.local")).unwrap();
    publish(&other.bundle, &state.other_roots().join("next.pem")).unwrap();
    fs::write(state.other_roots().join("bad.pem"), "nonsense").unwrap();
    let keys = state.keys(SystemTime::now()).unwrap();
    assert_eq!(keys.bundle.roots().len(), 2);
    assert!(keys.bundle.roots().contains(&other.bundle.roots()[0]));
}
