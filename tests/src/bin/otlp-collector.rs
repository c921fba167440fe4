//! A collector of spans: `otlp-collector PORT FILE` serves OTLP over gRPC and writes each span that it takes as a line of JSON.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use serde_json::{Map, Value, json};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, transport::Server};

use otlp::trace_service_server::{TraceService, TraceServiceServer};
use otlp::{ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, Span, any_value};

#[allow(dead_code, missing_debug_implementations, unreachable_pub, clippy::all)]
mod otlp {
    tonic::include_proto!("opentelemetry.proto.collector.trace.v1");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(file)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("needs a port and a file");
    };
    let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port.parse().context("the port")?);
    let file = File::options().append(true).create(true).open(&file).with_context(|| file)?;
    let service = TraceServiceServer::new(Collector(Mutex::new(file)));
    Ok(Server::builder().add_service(service).serve(address).await?)
}

struct Collector(Mutex<File>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = headers(request.metadata());
        for of_resource in request.into_inner().resource_spans {
            let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
            for of_scope in of_resource.scope_spans {
                let scope = of_scope.scope.unwrap_or_default().name;
                for span in of_scope.spans {
                    let mut line = shown(span);
                    line["resource"] = resource.clone();
                    line["headers"] = headers.clone();
                    line["scope"] = scope.clone().into();
                    let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    writeln!(file, "{line}").map_err(|error| Status::internal(error.to_string()))?;
                }
            }
        }
        Ok(Response::new(ExportTraceServiceResponse {}))
    }
}

fn headers(metadata: &MetadataMap) -> Value {
    let headers = metadata.clone().into_headers();
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())
    };
    Value::Object(headers.iter().map(text).collect())
}

fn shown(span: Span) -> Value {
    let status = span.status.clone().unwrap_or_default();
    json!({
        "kind": span.kind().as_str_name(),
        "trace": hex(&span.trace_id),
        "span": hex(&span.span_id),
        "parent": hex(&span.parent_span_id),
        "state": span.trace_state,
        "name": span.name,
        "begun": span.start_time_unix_nano,
        "ended": span.end_time_unix_nano,
        "status": status.code().as_str_name(),
        "message": status.message,
        "flags": span.flags,
        "attributes": attributes(span.attributes),
    })
}

fn attributes(attributes: Vec<KeyValue>) -> Value {
    let value = |KeyValue { key, value }| {
        let value = match value.and_then(|value| value.value) {
            Some(any_value::Value::StringValue(text)) => text.into(),
            Some(any_value::Value::BoolValue(is)) => is.into(),
            Some(any_value::Value::IntValue(number)) => number.into(),
            Some(any_value::Value::DoubleValue(number)) => number.into(),
            None => Value::Null,
        };
        (key, value)
    };
    Value::Object(attributes.into_iter().map(value).collect::<Map<_, _>>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
