//! Learns libtorch's version, and tells the linker where this crate's tests find libtorch when they run.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let library = env::var_os("LIBTORCH").map(PathBuf::from);
    let version_file = library.as_ref().map(|folder| folder.join("build-version"));
    if let Some(file) = &version_file {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    let version = version_file.and_then(|file| fs::read_to_string(file).ok());
    println!("cargo:rustc-env=GAUNTLET_LIBTORCH_VERSION={}", version.as_deref().unwrap_or("unknown").trim());
    if let Some(folder) = library {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.join("lib").display());
    }
}
