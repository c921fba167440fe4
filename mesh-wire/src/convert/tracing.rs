use mesh_ir::resource::{AttributeValue, Collector, Fraction, KnownAttribute, SpanAttribute, Tracing};

use super::{Malformed, Within, list, messages, name, optional, port, required};
use crate::proto;

impl From<&Tracing> for proto::Tracing {
    fn from(tracing: &Tracing) -> Self {
        let Tracing { policy, collector, sampling, parent_based, service_name, span_name, attributes } =
            tracing;
        let Collector { service, port, headers } = collector;
        let header = |(name, value): &(String, mesh_ir::resource::Secret)| proto::CollectorHeader {
            name: name.clone(),
            value: value.expose().into(),
        };
        Self {
            policy: policy.to_string(),
            collector: service.to_string(),
            port: (*port).into(),
            headers: headers.iter().map(header).collect(),
            sampling: Some(sampling.into()),
            parent_based: parent_based.as_ref().map(Into::into),
            service_name: service_name.clone(),
            span_name: span_name.clone(),
            attributes: messages(attributes),
        }
    }
}

impl TryFrom<proto::Tracing> for Tracing {
    type Error = Malformed;
    fn try_from(tracing: proto::Tracing) -> Result<Self, Malformed> {
        Ok(Self {
            policy: name("policy", &tracing.policy)?,
            collector: Collector {
                service: name("collector", &tracing.collector)?,
                port: port("port", tracing.port)?,
                headers: tracing.headers.into_iter().map(|h| (h.name, h.value.into())).collect(),
            },
            sampling: required("sampling", tracing.sampling)?,
            parent_based: optional("parent_based", tracing.parent_based)?,
            service_name: tracing.service_name,
            span_name: tracing.span_name,
            attributes: list("attributes", tracing.attributes)?,
        })
    }
}

impl From<&Fraction> for proto::Fraction {
    fn from(Fraction { numerator, denominator }: &Fraction) -> Self {
        Self { numerator: *numerator, denominator: *denominator }
    }
}

impl TryFrom<proto::Fraction> for Fraction {
    type Error = Malformed;
    fn try_from(fraction: proto::Fraction) -> Result<Self, Malformed> {
        let proto::Fraction { numerator, denominator } = fraction;
        match denominator {
            0 => Err(Malformed::new("it is zero").within("denominator")),
            _ => Ok(Self { numerator, denominator }),
        }
    }
}

impl From<&SpanAttribute> for proto::SpanAttribute {
    fn from(SpanAttribute { name, value }: &SpanAttribute) -> Self {
        use proto::span_attribute::Value as P;
        let value = match value {
            AttributeValue::Header(name) => P::Header(name.clone()),
            AttributeValue::Literal(text) => P::Literal(text.clone()),
            AttributeValue::Known(known) => P::Known(known.key().into()),
        };
        Self { name: name.clone(), value: Some(value) }
    }
}

impl TryFrom<proto::SpanAttribute> for SpanAttribute {
    type Error = Malformed;
    fn try_from(attribute: proto::SpanAttribute) -> Result<Self, Malformed> {
        use proto::span_attribute::Value as P;
        let unknown = || Malformed::unknown("the value");
        let value = match attribute.value.ok_or_else(unknown)? {
            P::Header(name) => AttributeValue::Header(name),
            P::Literal(text) => AttributeValue::Literal(text),
            P::Known(key) => {
                AttributeValue::Known(KnownAttribute::from_key(&key).ok_or_else(unknown).within("known")?)
            }
        };
        Ok(Self { name: attribute.name, value })
    }
}
