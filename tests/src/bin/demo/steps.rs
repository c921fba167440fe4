//! The steps, in their order.

use weir_tests::steps::Step;

use crate::stage::Stage;

mod breaker;
mod live;
mod outside;
mod routing;
mod wire;

pub(crate) const ALL: [Step<Stage>; 8] = [
    Step {
        id: "gateway",
        name: "productpage through the Gateway, dialled from this machine",
        run: routing::gateway,
    },
    Step { id: "weights", name: "1,000 requests to reviews split 90/10", run: routing::weights },
    Step { id: "header", name: "a header picks the version", run: routing::header },
    Step { id: "live", name: "a weight edited in its file, under load", run: live::edit },
    Step { id: "wire", name: "the frames between the nodes", run: wire::frames },
    Step { id: "identities", name: "the identities that each side saw", run: wire::identities },
    Step { id: "breaker", name: "the circuit breaker, 20 concurrent requests", run: breaker::breaker },
    Step { id: "outside", name: "a pod outside of the mesh: Permissive, then Strict", run: outside::outside },
];
