//! What becomes of a connection as a whole, or of a client's datagrams.

use mesh_ir::eval::{self, ConnectionDecision, Target};
use mesh_ir::name::ObjectName;
use mesh_ir::resource::Transport;

use super::answer::{Backend, Explanation, HandledAs, Route, Rule, To};
use super::backend::Standpoint;
use super::decide::{Asking, listener_protocol, role};

impl Asking<'_> {
    /// At a port of a Gateway that takes no requests; with TLS, the server's name has chosen the listener.
    pub(super) fn gateway_connection(&self, mut to: To, target_port: u16, sni: Option<&str>) -> Explanation {
        let port = self.view.gateway_port(target_port);
        let found = port.and_then(|port| port.listener(sni));
        if let (To::Gateway { listener, .. }, Some(found)) = (&mut to, found) {
            *listener = Some(format!("{} ({})", found.name, listener_protocol(&found.protocol)));
        }
        let serves_tls = port.is_some_and(|port| port.is_tls());
        if serves_tls != self.question.tls && self.question.transport() == Transport::Tcp {
            let why = match serves_tls {
                true => "its listeners there speak TLS, and the client begins without: dial tls://",
                false => {
                    "its listeners there end no TLS: what the client begins goes on to the backend as it is: dial tcp://"
                }
            };
            return self.blank(to, HandledAs::Refused, why.into());
        }
        let (handled, why) = match self.question.transport() {
            Transport::Tcp => (
                HandledAs::Tcp,
                "by the Gateway's proxy on whichever node the connection comes in at, as bytes",
            ),
            Transport::Udp => (
                HandledAs::Udp,
                "by the Gateway's proxy on whichever node they come in at: a client keeps its backend, and its datagrams reach \
                 it in clear, whatever the pod's mode",
            ),
        };
        let mut answer = self.blank(to, handled, why.into());
        self.connection(
            &mut answer,
            Target::Gateway { target_port, sni },
            &self.standpoint(true, true),
            None,
        );
        answer.limits = self.limits(&answer, false);
        answer
    }

    /// The decision of `eval`.
    pub(super) fn connection(
        &self,
        answer: &mut Explanation,
        target: Target<'_>,
        standpoint: &Standpoint<'_>,
        service: Option<&ObjectName>,
    ) {
        let rule = match eval::connection(self.view, target) {
            ConnectionDecision::Forward(rule) => rule,
            ConnectionDecision::ForwardToService(name, port) => {
                let found = self.view.service(&name).and_then(|service| Some((service, service.port(port)?)));
                answer.backends =
                    found.map(|(service, port)| standpoint.service(service, port)).into_iter().collect();
                return;
            }
            ConnectionDecision::Refuse(reason) => {
                answer.handling.by = HandledAs::Refused;
                answer.handling.why = reason.reason().to_owned();
                return;
            }
        };
        let by = match self.question.transport() {
            Transport::Tcp => "every connection",
            Transport::Udp => "every datagram",
        };
        answer.route = Some(Route {
            rule: Some(Rule {
                route: rule.route.to_string(),
                index: rule.index,
                name: rule.rule.name.clone(),
                role: role(service, &rule.route.name.namespace),
                by: by.to_owned(),
            }),
            passed_over: Vec::new(),
        });
        let total: u64 = rule.rule.backends.iter().map(|backend| u64::from(backend.weight)).sum();
        if total == 0 {
            answer.warnings.push("no backend of the rule has a weight above zero".to_owned());
        }
        let shown = |backend: &mesh_ir::resource::Backend| Backend {
            weight: Some(backend.weight),
            percent: 100.0 * f64::from(backend.weight) / total.max(1) as f64,
            ..self.backend(&backend.target, standpoint)
        };
        answer.backends = rule.rule.backends.iter().map(shown).collect();
    }
}
