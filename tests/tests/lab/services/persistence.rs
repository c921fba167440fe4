//! A route that persists sessions: clients come back to the server that they had for as long as it serves.

use weir_tests::lab::Lab;
use weir_tests::lab::client::Response;

use super::servers::Servers;
use super::{CLIENT, Layer, all_answer, sole};

const URL: &str = "http://persistent.services/";

pub(super) fn a_cookie_leads_back(lab: &Lab, servers: &Servers) {
    servers.all_stand(lab);
    // Without a cookie every server is chosen.
    all_answer(lab, "persistent", Layer::Requests, ["near", "far-1", "far-2"]);
    let begun = get(lab, &[URL]);
    let set = begun.header("set-cookie");
    let (cookie, attributes) = set.split_once("; ").unwrap_or_else(|| panic!("{begun:?}"));
    assert!(cookie.starts_with("session="), "{set}");
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict");

    let brought = format!("cookie:other=1; {cookie}");
    let own = stays(lab, &["-H", &brought, URL]);
    assert_eq!(get(lab, &["-H", &brought, URL]).header("set-cookie"), "", "the session goes on as it is");
    let forged = format!("cookie:{}", cookie.replace('=', "=A"));
    assert_ne!(
        get(lab, &["-H", &forged, URL]).header("set-cookie"),
        "",
        "a token that is none begins a session"
    );

    servers.drain(lab, &own);
    servers.let_go(lab, &own);
    let moved = get(lab, &["-H", &brought, URL]);
    let (cookie, _) = moved.header("set-cookie").split_once("; ").unwrap();
    assert_ne!(stays(lab, &["-H", &format!("cookie:{cookie}"), URL]), own);
    servers.start(lab, &own);
}

pub(super) fn a_header_leads_back(lab: &Lab, servers: &Servers) {
    servers.all_stand(lab);
    let url = format!("{URL}header");
    let begun = get(lab, &[&url]);
    let token = begun.header("x-session");
    assert!(!token.is_empty() && begun.header("set-cookie").is_empty(), "{begun:?}");
    stays(lab, &["-H", &format!("x-session:{token}"), &url]);
}

fn get(lab: &Lab, arguments: &[&str]) -> Response {
    let response = lab.get(CLIENT, arguments).unwrap().response().unwrap();
    assert_eq!(response.status, 200, "{response:?}");
    response
}

/// The only pod that answers, each time on a connection of its own.
fn stays(lab: &Lab, arguments: &[&str]) -> String {
    let arguments = [&["--requests", "50", "-H", "connection:close"], arguments].concat();
    let load = lab.load(CLIENT, &arguments).unwrap();
    assert!(load.is_all_200(), "{load:?}");
    sole(load.pods().into_keys().collect())
}
