//! Generates the collector's service from `proto/trace_service.proto`.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .build_client(false)
        .compile_protos(&["proto/trace_service.proto"], &["proto"])
}
