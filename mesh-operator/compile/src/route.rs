//! Routes of every kind: attached to their parents, their references resolved, and what their status says. A kind of
//! route is turned into a `RouteInput` at its edge (`http_route`, `grpc_route`, `connection_route`), and from here on there is
//! but one kind.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_ir::name::{Hostname, Namespace, ObjectName};
use mesh_ir::resource::{
    Backend, BackendTarget, Filter, Fraction, HttpMatch, Mirror, PathMatch, Resource, Retry, Route, RouteKey,
    RouteKind, RouteParent, Rule, SessionPersistence, Timeouts,
};

use crate::api::generated::http_route::HttpRouteRulesSessionPersistence;
use crate::attach::{self, Attachment};
use crate::backend::{self, Reference, Referrer};
use crate::claims;
use crate::external_auth::ExternalAuthInput;
use crate::listener::{Listener, Owner};
use crate::lookup::{Lookup, Table, User};
use crate::object::{Kind, ObjectId};
use crate::policy::created;
use crate::status::{Condition, Conditions, ParentReference, RouteParentStatus, RouteStatus, Status};
use crate::{session, xbackend};

/// A condition's message lists no more problems than this.
const MAX_LISTED: usize = 8;

/// An object that a route comes from.
pub(crate) trait RouteObject {
    fn parents(&self) -> &[ParentReference];
    /// Whether the default Gateways are to be its parents too.
    fn uses_default_gateways(&self) -> bool;
    fn input(&self, name: &ObjectName) -> RouteInput<'_>;
}

/// A route, whatever its kind.
#[derive(Debug)]
pub(crate) struct RouteInput<'a> {
    pub(crate) key: RouteKey,
    pub(crate) metadata: &'a ObjectMeta,
    pub(crate) hostnames: Vec<Hostname>,
    pub(crate) parents: Vec<ParentReference>,
    pub(crate) rules: Vec<RuleInput>,
}

#[derive(Debug, Default)]
pub(crate) struct RuleInput {
    /// `rules[0]`
    pub(crate) field: String,
    pub(crate) name: Option<String>,
    pub(crate) matches: Vec<HttpMatch>,
    pub(crate) filters: Vec<FilterInput>,
    pub(crate) backends: Vec<BackendInput>,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: Option<Retry>,
    pub(crate) session: Option<SessionPersistence>,
    pub(crate) problem: Option<RuleProblem>,
}

/// What keeps a rule from being served, with the field and why.
#[derive(Debug)]
pub(crate) enum RuleProblem {
    /// It is not known what it should match: it matches nothing. It keeps its place, so that the others keep theirs.
    CannotMatch(String),
    /// It matches, but what it asks for is not supported. To serve its requests without would be wrong (a filter that
    /// authorises must not be skipped), so they are answered 500.
    CannotServe(String),
}

#[derive(Debug)]
pub(crate) enum FilterInput {
    Plain(Filter),
    Mirror {
        backend: Reference,
        fraction: Fraction,
    },
    ExternalAuth(ExternalAuthInput),
    /// A filter defined by somebody else; none is known. Its requests are answered 500, as the specification says.
    Extension {
        field: String,
        kind: String,
    },
}

#[derive(Debug)]
pub(crate) struct BackendInput {
    reference: Reference,
    weight: u32,
    filters: Vec<FilterInput>,
}

impl BackendInput {
    pub(crate) fn new(reference: Reference, weight: Option<i32>, filters: Vec<FilterInput>) -> Self {
        Self { reference, weight: u32::try_from(weight.unwrap_or(1)).unwrap_or(0), filters }
    }
}

impl RuleInput {
    /// Sets the matches as `read` finds them; a rule without any matches everything.
    pub(crate) fn set_matches<S>(&mut self, specs: &[S], read: impl Fn(&S) -> Result<HttpMatch, String>) {
        let everything = HttpMatch {
            path: PathMatch::Prefix("/".into()),
            headers: Vec::new(),
            query: Vec::new(),
            method: None,
        };
        // What no path can be.
        let nothing = || HttpMatch { path: PathMatch::Exact(String::new()), ..everything.clone() };
        for (i, spec) in specs.iter().enumerate() {
            match read(spec) {
                Ok(r#match) => self.matches.push(r#match),
                Err(problem) => {
                    self.matches = vec![nothing()];
                    self.problem = Some(RuleProblem::CannotMatch(format!("matches[{i}].{problem}")));
                    return;
                }
            }
        }
        if specs.is_empty() {
            self.matches.push(everything);
        }
    }

    pub(crate) fn set_filters(&mut self, filters: Result<Vec<FilterInput>, String>) {
        match filters {
            Ok(filters) => self.filters = filters,
            Err(problem) => self.cannot_serve(format!("filters{problem}")),
        }
    }

    pub(crate) fn add_backend(&mut self, at: usize, backend: Result<BackendInput, String>) {
        match backend {
            Ok(backend) => self.backends.push(backend),
            Err(problem) => self.cannot_serve(format!("backendRefs[{at}].filters{problem}")),
        }
    }

    pub(crate) fn set_session(
        &mut self,
        spec: Option<&HttpRouteRulesSessionPersistence>,
        route: &RouteKey,
        field: &str,
    ) {
        match spec.map(|spec| session::persistence(spec, &format!("{route} {field}"))).transpose() {
            Ok(session) => self.session = session,
            Err(problem) => self.cannot_serve(problem),
        }
    }

    pub(crate) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.backends.iter().map(|backend| &backend.reference)
    }

    pub(crate) fn cannot_serve(&mut self, problem: String) {
        self.problem.get_or_insert(RuleProblem::CannotServe(problem));
    }
}

/// What comes of a route.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// `None` where no parent took it.
    pub(crate) resource: Option<Resource>,
    pub(crate) status: Option<(ObjectId, Status)>,
    /// The listeners (by their owner and place) that took it.
    pub(crate) attached: Vec<(Owner, usize)>,
    /// The Services that it uses, each with a Gateway that took it, in order.
    pub(crate) uses: Vec<(ObjectName, User)>,
}

pub(crate) fn compile(snapshot: &Lookup<'_>, key: &RouteKey) -> Compiled {
    fn one<'a, T: RouteObject>(
        snapshot: &Lookup<'_>,
        table: Table<'a, ObjectName, T>,
        name: &ObjectName,
    ) -> Option<RouteInput<'a>> {
        table.get(name).map(|route| input(snapshot, &**route, name))
    }
    let name = &key.name;
    let input = match key.kind {
        RouteKind::Grpc => one(snapshot, snapshot.grpc_routes, name),
        RouteKind::Http => one(snapshot, snapshot.http_routes, name),
        RouteKind::Tls => one(snapshot, snapshot.tls_routes, name),
        RouteKind::Tcp => one(snapshot, snapshot.tcp_routes, name),
        RouteKind::Udp => one(snapshot, snapshot.udp_routes, name),
    };
    let Some(input) = input else { return Compiled::default() };
    let (mut attached, mut uses) = (Vec::new(), Vec::new());
    let (route, parents) = attach_to_parents(snapshot, &mut attached, &mut uses, input);
    let id = ObjectId::namespaced(Kind::of_routes(key.kind), name);
    // A route of which one listener is named twice is attached once.
    attached.sort();
    attached.dedup();
    Compiled {
        resource: route.map(Resource::Route),
        status: (!parents.is_empty()).then_some((id, Status::Route(RouteStatus { parents }))),
        attached,
        uses,
    }
}

/// A route as its object writes it, with the default Gateways, and judged beside the Services that it names.
fn input<'a, T: RouteObject>(snapshot: &Lookup<'_>, route: &'a T, name: &ObjectName) -> RouteInput<'a> {
    let mut input = route.input(name);
    if route.uses_default_gateways() {
        attach::add_default_gateways(snapshot, &mut input);
    }
    session::refuse_beside_affinity(snapshot, &mut input);
    input
}

/// The routes of a kind in a namespace of which a parentRef is the one that is looked for.
pub(crate) fn with_parent<'a>(
    snapshot: &Lookup<'a>,
    kind: RouteKind,
    namespace: &Namespace,
    is_it: impl Fn(&ParentReference) -> bool,
) -> Vec<RouteInput<'a>> {
    fn all<'a, T: RouteObject>(
        snapshot: &Lookup<'_>,
        table: Table<'a, ObjectName, T>,
        namespace: &Namespace,
        is_it: impl Fn(&ParentReference) -> bool,
    ) -> Vec<RouteInput<'a>> {
        let named = table.in_namespace(namespace).filter(|(_, route)| route.parents().iter().any(&is_it));
        named.map(|(name, route)| input(snapshot, &**route, name)).collect()
    }
    match kind {
        RouteKind::Grpc => all(snapshot, snapshot.grpc_routes, namespace, is_it),
        RouteKind::Http => all(snapshot, snapshot.http_routes, namespace, is_it),
        RouteKind::Tls => all(snapshot, snapshot.tls_routes, namespace, is_it),
        RouteKind::Tcp => all(snapshot, snapshot.tcp_routes, namespace, is_it),
        RouteKind::Udp => all(snapshot, snapshot.udp_routes, namespace, is_it),
    }
}

fn attach_to_parents(
    snapshot: &Lookup<'_>,
    attached_to: &mut Vec<(Owner, usize)>,
    uses: &mut Vec<(ObjectName, User)>,
    input: RouteInput<'_>,
) -> (Option<Route>, Vec<RouteParentStatus>) {
    let attachments: Vec<(ParentReference, Attachment)> = input
        .parents
        .iter()
        .filter_map(|parent| Some((parent.clone(), attach::attach(snapshot, &input, parent)?)))
        .collect();
    // A Gateway exposes what it serves, so its routes need grants to reach into other namespaces; mesh routes need none
    // (GEP-1294). A route of both is one thing here and another there.
    let is_gateway = |attachment: &Attachment| matches!(attachment, Attachment::Listeners { .. });
    let resolved = |at_gateways: bool| match attachments.iter().any(|(_, a)| is_gateway(a) == at_gateways) {
        true => resolve(snapshot, &input, at_gateways),
        false => Resolved::default(),
    };
    let (at_gateways, in_mesh) = (resolved(true), resolved(false));
    let (of_gateways, of_mesh) = (at_gateways.uses(), in_mesh.uses());
    let (gateway_rules, gateway_references) = (at_gateways.rules, at_gateways.problems);
    let (mesh_rules, mesh_references) = (in_mesh.rules, in_mesh.problems);
    let conditions = Conditions { generation: input.metadata.generation };
    let validity = Validity::of(&input);

    let mut used = BTreeSet::new();
    let (mut parents, mut statuses) = (Vec::new(), Vec::new());
    for (reference, attachment) in attachments {
        let attached = attachment.result().and_then(|()| validity.check());
        let attached = attached.and_then(|()| claims::check(snapshot, &input.key, &attachment));
        let references = if is_gateway(&attachment) { &gateway_references } else { &mesh_references };
        let mut list = Vec::new();
        match attached {
            Ok(()) => {
                list.push(conditions.ok("Accepted", "Accepted", attachment.description()));
                list.push(resolved_refs(conditions, references));
                list.extend(validity.partially_invalid(conditions));
                let (services, user) = match &attachment {
                    Attachment::Listeners { owner, .. } => {
                        (&of_gateways, serving(snapshot, owner).map(|(gateway, ..)| User::Gateway(gateway)))
                    }
                    Attachment::Service { result } => {
                        (&of_mesh, result.as_ref().ok().map(|(parent, _)| User::Service(parent.clone())))
                    }
                };
                used.extend(
                    user.iter()
                        .flat_map(|user| services.iter().map(|service| (service.clone(), user.clone()))),
                );
                parents.extend(enter(snapshot, attached_to, attachment));
            }
            Err((reason, message)) => {
                list.push(conditions.no("Accepted", reason, message));
                list.push(resolved_refs(conditions, references));
            }
        }
        statuses.push(RouteParentStatus::new(reference, list));
    }
    uses.extend(used);
    let mut unique: Vec<RouteParent> = Vec::new();
    for parent in parents {
        if !unique.contains(&parent) {
            unique.push(parent);
        }
    }
    let in_mesh = unique.iter().any(|parent| matches!(parent, RouteParent::Service { .. }));
    let at_gateways = unique.iter().any(|parent| matches!(parent, RouteParent::Listener { .. }));
    let (rules, gateway_rules) = match (in_mesh, at_gateways) {
        (false, _) => (gateway_rules, Vec::new()),
        (true, true) if gateway_rules != mesh_rules => (mesh_rules, gateway_rules),
        (true, _) => (mesh_rules, Vec::new()),
    };
    let route = (!unique.is_empty()).then(|| Route {
        key: input.key.clone(),
        created: created(input.metadata),
        parents: unique,
        rules,
        gateway_rules,
    });
    (route, statuses)
}

/// The Services that requests go to, or copies of them, and those that are asked about them.
fn services(rules: &[Rule]) -> BTreeSet<&ObjectName> {
    let mut services = BTreeSet::new();
    for rule in rules {
        let of_backends = rule.backends.iter().flat_map(|backend| &backend.filters);
        let of_filters = rule.filters.iter().chain(of_backends).filter_map(|filter| match filter {
            Filter::Mirror(mirror) => Some(&mirror.target),
            Filter::ExternalAuth(auth) => Some(&auth.target),
            _ => None,
        });
        let targets = rule.backends.iter().map(|backend| &backend.target).chain(of_filters);
        services.extend(targets.filter_map(|target| match target {
            BackendTarget::Service { service, .. } => Some(service),
            BackendTarget::Invalid { .. } => None,
        }));
    }
    services
}

/// Takes note of the listeners that took a route; gives the parents that nodes serve.
fn enter(
    snapshot: &Lookup<'_>,
    attached_to: &mut Vec<(Owner, usize)>,
    attachment: Attachment,
) -> Vec<RouteParent> {
    match attachment {
        Attachment::Service { result: Ok((service, port)) } => vec![RouteParent::Service { service, port }],
        Attachment::Listeners { owner, result: Ok(places) } => {
            let Some((gateway, serves, listeners)) = serving(snapshot, &owner) else { return Vec::new() };
            let mut parents = Vec::new();
            for (index, hostnames) in places {
                let listener = &listeners[index];
                attached_to.push((owner.clone(), index));
                if serves && listener.is_valid() {
                    let listener = listener.name.clone();
                    parents.push(RouteParent::Listener { gateway: gateway.clone(), listener, hostnames });
                }
            }
            parents
        }
        _ => Vec::new(),
    }
}

/// The Gateway of listeners, whether they are served there as far as they are valid, and the listeners.
fn serving<'a>(snapshot: &Lookup<'a>, owner: &Owner) -> Option<(ObjectName, bool, &'a [Listener])> {
    match owner {
        Owner::Gateway(name) => {
            let gateway = snapshot.judged_gateway(name)?;
            Some((name.clone(), gateway.is_accepted(), &gateway.listeners))
        }
        Owner::ListenerSet(name) => {
            let set = snapshot.judged_listener_set(name)?;
            Some((set.gateway.clone(), set.is_served(), &set.listeners))
        }
    }
}

/// Whether all, some or none of a route's rules can be served as they ask.
pub(crate) struct Validity {
    /// What is wrong with rules, and whether their requests are answered 500.
    wrong: Vec<(String, bool)>,
    any_right: bool,
}

impl Validity {
    pub(crate) fn of(input: &RouteInput<'_>) -> Self {
        let problem = |rule: &RuleInput| match rule.problem.as_ref()? {
            RuleProblem::CannotMatch(problem) => Some((format!("{}: {problem}", rule.field), false)),
            RuleProblem::CannotServe(problem) => Some((format!("{}: {problem}", rule.field), true)),
        };
        let wrong: Vec<(String, bool)> = input.rules.iter().filter_map(problem).collect();
        Self { any_right: wrong.len() < input.rules.len(), wrong }
    }

    pub(crate) fn check(&self) -> Result<(), attach::Refusal> {
        if self.any_right {
            return Ok(());
        }
        let problems: Vec<String> = self.wrong.iter().map(|(problem, _)| problem.clone()).collect();
        Err(("UnsupportedValue", format!("No rule can be served: {}", listed(&problems))))
    }

    /// The message begins as the specification demands.
    fn partially_invalid(&self, conditions: Conditions) -> Option<Condition> {
        let shown = |(problem, answered): &(String, bool)| match answered {
            true => format!("{problem}; its requests are answered 500"),
            false => problem.clone(),
        };
        let problems: Vec<String> = self.wrong.iter().map(shown).collect();
        let message = format!("Dropped Rule {}", listed(&problems));
        (!problems.is_empty()).then(|| conditions.ok("PartiallyInvalid", "UnsupportedValue", message))
    }
}

fn resolved_refs(conditions: Conditions, problems: &[attach::Refusal]) -> Condition {
    match problems.first() {
        None => conditions.ok("ResolvedRefs", "ResolvedRefs", "All references are resolved"),
        Some((reason, _)) => {
            // One backend in several rules is one problem.
            let mut seen = BTreeSet::new();
            let messages = problems.iter().map(|(_, message)| message.clone());
            let messages: Vec<String> = messages.filter(|message| seen.insert(message.clone())).collect();
            conditions.no("ResolvedRefs", reason, listed(&messages))
        }
    }
}

fn listed(problems: &[String]) -> String {
    let shown = problems[..problems.len().min(MAX_LISTED)].join("; ");
    match problems.len().saturating_sub(MAX_LISTED) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// The rules as they are served.
#[derive(Debug, Default)]
struct Resolved {
    rules: Vec<Rule>,
    /// What is wrong with their references.
    problems: Vec<attach::Refusal>,
    /// The XBackends that they name and may use, and that cannot be served: these are told so.
    refused: BTreeSet<ObjectName>,
}

impl Resolved {
    /// The Services that are used, or would be.
    fn uses(&self) -> BTreeSet<ObjectName> {
        services(&self.rules).into_iter().chain(&self.refused).cloned().collect()
    }
}

fn resolve(snapshot: &Lookup<'_>, input: &RouteInput<'_>, needs_grants: bool) -> Resolved {
    let mut resolved = Resolved::default();
    let Resolved { problems, refused, .. } = &mut resolved;
    let mut resolver = Resolver { snapshot, key: &input.key, needs_grants, problems, refused };
    let rules = input.rules.iter().map(|rule| resolver.rule(rule)).collect();
    Resolved { rules, ..resolved }
}

struct Resolver<'a> {
    snapshot: &'a Lookup<'a>,
    key: &'a RouteKey,
    needs_grants: bool,
    problems: &'a mut Vec<attach::Refusal>,
    refused: &'a mut BTreeSet<ObjectName>,
}

impl Resolver<'_> {
    fn rule(&mut self, input: &RuleInput) -> Rule {
        let mut filters = self.filters(&input.filters);
        let backends = input.backends.iter().map(|backend| self.backend(backend, input.session.as_ref()));
        let mut backends: Vec<Backend> = backends.collect();
        let refusal = match &input.problem {
            Some(RuleProblem::CannotMatch(problem) | RuleProblem::CannotServe(problem)) => {
                Some(problem.clone())
            }
            None => filters.as_ref().err().cloned(),
        };
        if let Some(reason) = refusal {
            filters = Ok(Vec::new());
            let target = BackendTarget::Invalid { reason };
            backends = vec![Backend { weight: 1, target, filters: Vec::new(), session: None }];
        }
        Rule {
            name: input.name.clone(),
            matches: input.matches.clone(),
            filters: filters.unwrap_or_default(),
            backends,
            timeouts: input.timeouts,
            retry: input.retry.clone(),
        }
    }

    fn backend(&mut self, input: &BackendInput, session: Option<&SessionPersistence>) -> Backend {
        let target = self.target(&input.reference);
        let (target, filters) = match self.filters(&input.filters) {
            Ok(filters) => (target, filters),
            Err(reason) => (BackendTarget::Invalid { reason }, Vec::new()),
        };
        let of_backend =
            || xbackend::session(self.snapshot, &target).filter(|_| self.key.kind.is_of_requests());
        let session = session.cloned().or_else(of_backend);
        Backend { weight: input.weight, target, filters, session }
    }

    /// `Err` is why requests that these filters would see must be answered 500.
    fn filters(&mut self, inputs: &[FilterInput]) -> Result<Vec<Filter>, String> {
        let mut refusal = None;
        let mut filters = Vec::new();
        for input in inputs {
            match input {
                FilterInput::Plain(filter) => filters.push(filter.clone()),
                FilterInput::Mirror { backend, fraction } => match self.target(backend) {
                    // A mirror without a target is left out: it takes nothing from the request itself.
                    BackendTarget::Invalid { .. } => {}
                    target => filters.push(Filter::Mirror(Mirror { target, fraction: *fraction })),
                },
                FilterInput::ExternalAuth(input) => match self.target(&input.backend) {
                    BackendTarget::Invalid { reason } => {
                        refusal.get_or_insert(format!("{}: {reason}", input.backend.field));
                    }
                    target => filters.push(Filter::ExternalAuth(input.of(target))),
                },
                FilterInput::Extension { field, kind } => {
                    let message = format!("{field}: no filter of kind {kind} is known");
                    self.problems.push(("InvalidKind", message.clone()));
                    refusal.get_or_insert(message);
                }
            }
        }
        refusal.map_or(Ok(filters), Err)
    }

    fn target(&mut self, reference: &Reference) -> BackendTarget {
        match backend::resolve(self.snapshot, &Referrer::route(self.key), reference, self.needs_grants) {
            Ok((service, port)) => BackendTarget::Service { service, port },
            Err((reason, problem)) => {
                if !matches!(reason, "BackendNotFound" | "RefNotPermitted") {
                    self.refused.extend(reference.backend(&self.key.name.namespace));
                }
                self.problems.push((reason, format!("{}: {problem}", reference.field)));
                BackendTarget::Invalid { reason: problem }
            }
        }
    }
}
