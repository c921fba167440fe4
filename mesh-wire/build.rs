//! Generates the protobuf messages and the gRPC service from `proto/config.proto`.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .bytes(".")
        // These hold secrets: `src/proto.rs` writes their Debug by hand.
        .skip_debug([
            ".weir.config.v1alpha1.Certificate",
            ".weir.config.v1alpha1.CollectorHeader",
            ".weir.config.v1alpha1.Upsert",
        ])
        // Who connects, and how, is the programs' affair.
        .build_transport(false)
        .compile_protos(&["proto/config.proto"], &["proto"])
}
