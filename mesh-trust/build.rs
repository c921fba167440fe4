//! Generates the client and server of the certificate service from its proto file.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure().compile_protos(&["proto/certificates.proto"], &["proto"])
}
