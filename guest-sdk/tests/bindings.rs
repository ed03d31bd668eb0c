//! The bindings in `src/bindings/` are what the generator makes of `wit/`. They are in the repository so that a transform
//! compiles in a third of the time; `UPDATE_EXPECTED=1 cargo test -p wasmill-sdk --test bindings` writes them anew.

use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_bindgen_rust::Opts;

fn generated(world: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root.join("../wit")).expect("the contract parses");
    let world = resolve.select_world(&[package], Some(world)).expect("the world exists");
    let options = Opts {
        pub_export_macro: true,
        export_macro_name: Some("export".to_owned()),
        default_bindings_module: Some("::wasmill_sdk::__private::bindings".to_owned()),
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).expect("bindings");
    let (_, source) = files.iter().next().expect("one file");
    String::from_utf8(source.to_vec()).expect("Rust is UTF-8")
}

#[test]
fn the_bindings_are_those_of_the_contract() {
    for (world, file) in [("transform-flat", "flat.rs"), ("transform", "typed.rs")] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bindings").join(file);
        let expected = generated(world);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&path, &expected).expect("the bindings can be written");
        }
        let found = std::fs::read_to_string(&path).expect("the bindings are there");
        assert!(
            found == expected,
            "src/bindings/{file} is not what `world {world}` of wit/ asks for: see the top of this file"
        );
    }
}
