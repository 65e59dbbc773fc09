//! Compiles the protos with protox, so that no protoc is needed.

use std::path::PathBuf;

use prost::Message as _;

const PROTOS: [&str; 3] = ["gauntlet/v1/sweep.proto", "gauntlet/v1/worker.proto", "gauntlet/v1/fleet.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for proto in PROTOS {
        println!("cargo::rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(PROTOS, ["."])?;
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out_dir.join("gauntlet_v1.descriptor"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
