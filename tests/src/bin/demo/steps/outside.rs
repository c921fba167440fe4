//! A client that is not in the mesh: served while the namespace is Permissive, refused when it is Strict.

use weir_tests::lab::client::Answer;
use weir_tests::lab::sample;
use weir_tests::link::verdict::Verdict;

use crate::stage::{PRODUCTPAGE, REVIEWS, Stage, addresses};
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;

const CLIENT: &str = "outside/deploy/client";

pub(crate) fn outside(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let client = stage.lab.pod("outside", "client")?;
    let (url, destination) = stage.across(&client.node)?;
    // What is captured now shows that the look for HTTP between the nodes would have found some.
    let capture = stage.capture_link()?;
    let permissive = stage.lab.get(CLIENT, &[&url])?;
    let verdict = Verdict::of(&capture.stop()?, &addresses(&stage.lab.view()?));
    show.progress(&format!(
        "Permissive: {} of {} on {}, asked from outside: {}; in clear on the link: {} frames with HTTP",
        destination.name,
        destination.namespace,
        destination.node,
        said(&permissive),
        verdict.clear.len()
    ));
    let strict = sample("strict.yaml")?;
    stage.lab.apply(&strict)?;
    let refused = stage.lab.get(CLIENT, &["--timeout", "5", &url])?;
    show.progress(&format!("Strict: the same request: {}", said(&refused)));
    let meshed = stage.lab.load(PRODUCTPAGE, &["--requests", "200", "--concurrency", "4", REVIEWS])?;
    show.progress(&format!(
        "Strict: productpage's own: {} of {} answered 200",
        meshed.with_status(200),
        meshed.requests
    ));
    stage.lab.apply(&strict.replace("    weir.dev/mode: strict\n", ""))?;
    let again = stage.lab.get(CLIENT, &[&url])?;
    show.progress(&format!("Permissive again: {}", said(&again)));
    let mut outcome = Outcome::default();
    outcome.claim("Permissive serves it", permissive.status() == 200);
    outcome.claim("in clear, which the capture shows", !verdict.clear.is_empty());
    outcome.claim("Strict refuses it", matches!(refused, Answer::None(_)));
    outcome.claim("Strict leaves the mesh's own requests alone", meshed.is_all_200());
    outcome.claim("Permissive serves it again", again.status() == 200);
    outcome.figure = format!("{}, then {}, then {}", short(&permissive), short(&refused), short(&again));
    outcome.figure("permissive", short(&permissive));
    outcome.figure("strict", short(&refused));
    outcome.figure("meshedUnderStrict200", meshed.with_status(200));
    outcome.figure("meshedUnderStrictRequests", meshed.requests);
    outcome.figure("permissiveAgain", short(&again));
    outcome.figure("framesWithHttp", verdict.clear.len());
    Ok(outcome)
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Http(response) => format!("{} from {}", response.status, response.version()),
        Answer::None(why) => why.clone(),
    }
}

fn short(answer: &Answer) -> String {
    match answer {
        Answer::Http(response) => response.status.to_string(),
        Answer::None(why) => {
            // `bookinfo: GET URL: reset: …`
            let kinds = ["reset", "refused", "closed", "timeout", "unreachable", "protocol"];
            kinds
                .into_iter()
                .find(|kind| why.contains(&format!(": {kind}:")))
                .unwrap_or("no answer")
                .to_owned()
        }
    }
}
