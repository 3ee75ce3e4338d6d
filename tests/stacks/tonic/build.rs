fn main() -> std::io::Result<()> {
    let root = std::env::var("PROTO_DIR").expect("PROTO_DIR is the root of the proto files");
    tonic_prost_build::configure()
        .build_client(false)
        .compile_protos(&[format!("{root}/bigfleet/v1alpha1/provider.proto")], &[root])
}
