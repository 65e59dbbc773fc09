//! Tells the binary where libtorch is: where it was built against, or beside it in an installed tree (`bin/`, `lib/`).

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    if let Some(folder) = env::var_os("LIBTORCH").map(PathBuf::from) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.join("lib").display());
    }
}
