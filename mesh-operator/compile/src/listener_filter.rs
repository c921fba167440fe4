//! What listeners do with each request before its route is looked for (GEP-5224). The order is the user's: whatever stands in
//! the list can be done in any order, so that none is refused for its place.

use mesh_ir::resource::{BackendTarget, ExternalAuth, Transport};

use crate::api::generated::gateway::{
    GatewayListeners, GatewayListenersFiltersRequests as Filter, GatewayListenersFiltersRequestsType as Type,
};
use crate::backend::{self, Referrer};
use crate::external_auth::ExternalAuthInput;
use crate::listener::{Owner, Refusal};
use crate::lookup::Lookup;

/// The filters of one listener, and what is wrong with them.
#[derive(Debug)]
pub(crate) struct Filters {
    /// Whether requests are to pass any, whatever is wrong with them.
    pub(crate) are_any: bool,
    /// One whose server cannot be resolved is among them, and refuses what it is asked about.
    pub(crate) filters: Vec<ExternalAuth>,
    /// The first one that cannot be served.
    pub(crate) accepted: Result<(), Refusal>,
    pub(crate) resolved: Result<(), Refusal>,
}

pub(crate) fn evaluate(snapshot: &Lookup<'_>, owner: &Owner, spec: &GatewayListeners) -> Filters {
    let mut filters = Filters { are_any: false, filters: Vec::new(), accepted: Ok(()), resolved: Ok(()) };
    let requests = spec.filters.as_ref().and_then(|filters| filters.requests.as_deref()).unwrap_or_default();
    if !requests.is_empty() && !matches!(spec.protocol.as_str(), "HTTP" | "HTTPS") {
        let message =
            format!("filters: a listener of protocol {} takes no requests to filter", spec.protocol);
        filters.accepted = Err(("InvalidListenerFilter", message));
        return filters;
    }
    filters.are_any = !requests.is_empty();
    for (i, filter) in requests.iter().enumerate() {
        filters.add(snapshot, owner, &format!("filters.requests[{i}]"), filter);
    }
    filters
}

impl Filters {
    fn add(&mut self, snapshot: &Lookup<'_>, owner: &Owner, field: &str, filter: &Filter) {
        match (&filter.r#type, &filter.external_auth, &filter.extension_ref) {
            (Type::ExternalAuth, Some(spec), _) => match ExternalAuthInput::read(field, spec) {
                Ok(input) => {
                    let target = self.target(snapshot, owner, &input);
                    self.filters.push(input.of(target));
                }
                Err(problem) => self.refuse("InvalidListenerFilter", format!("{field}: {problem}")),
            },
            (Type::ExtensionRef, _, Some(reference)) => {
                let message = format!(
                    "{field}: no filter of kind {} is known, and ExtensionRef is not supported; take it out of the list",
                    reference.kind
                );
                self.refuse("UnsupportedValue", message.clone());
                self.unresolved("InvalidListenerFilterRef", message);
            }
            _ => {
                let message = format!("{field}: {:?} lacks its setting", filter.r#type);
                self.refuse("InvalidListenerFilter", message);
            }
        }
    }

    fn target(&mut self, snapshot: &Lookup<'_>, owner: &Owner, input: &ExternalAuthInput) -> BackendTarget {
        let referrer = Referrer {
            kind: owner.kind(),
            namespace: owner.name().namespace.as_str(),
            transport: Transport::Tcp,
            of_requests: true,
        };
        match backend::resolve(snapshot, &referrer, &input.backend, true) {
            Ok((service, port)) => BackendTarget::Service { service, port },
            Err((reason, problem)) => {
                let reason = if reason == "RefNotPermitted" { reason } else { "InvalidListenerFilterRef" };
                self.unresolved(reason, format!("{}: {problem}", input.backend.field));
                BackendTarget::Invalid { reason: problem }
            }
        }
    }

    fn refuse(&mut self, reason: &'static str, message: String) {
        self.accepted = self.accepted.clone().and(Err((reason, message)));
    }

    fn unresolved(&mut self, reason: &'static str, message: String) {
        self.resolved = self.resolved.clone().and(Err((reason, message)));
    }
}
