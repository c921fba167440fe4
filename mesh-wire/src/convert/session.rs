use mesh_ir::resource::{SessionCarrier, SessionPersistence};

use super::{Malformed, optional};
use crate::proto;

impl From<&SessionPersistence> for proto::SessionPersistence {
    fn from(session: &SessionPersistence) -> Self {
        use proto::session_persistence::Carrier as P;
        let SessionPersistence { carrier, absolute_timeout } = session;
        let carrier = match carrier {
            SessionCarrier::Cookie { name, path, permanent } => P::Cookie(proto::SessionCookie {
                name: name.clone(),
                path: path.clone(),
                permanent: *permanent,
            }),
            SessionCarrier::Header { name } => P::Header(name.clone()),
        };
        Self { carrier: Some(carrier), absolute_timeout: absolute_timeout.as_ref().map(Into::into) }
    }
}

impl TryFrom<proto::SessionPersistence> for SessionPersistence {
    type Error = Malformed;
    fn try_from(session: proto::SessionPersistence) -> Result<Self, Malformed> {
        use proto::session_persistence::Carrier as P;
        let carrier = match session.carrier {
            None => return Err(Malformed::unknown("the carrier").within("carrier")),
            Some(P::Cookie(proto::SessionCookie { name, path, permanent })) => {
                SessionCarrier::Cookie { name, path, permanent }
            }
            Some(P::Header(name)) => SessionCarrier::Header { name },
        };
        Ok(Self { carrier, absolute_timeout: optional("absolute_timeout", session.absolute_timeout)? })
    }
}
