//! The generated file that is kept is the one that the `.proto` files give.

#[test]
fn generated_wire_types_are_up_to_date() {
    let folder = tempfile::tempdir().expect("a folder");
    codegen::generate_into(folder.path()).expect("the .proto files compile");
    let fresh = std::fs::read_to_string(folder.path().join(codegen::FILE)).expect("generated");
    let kept = std::fs::read_to_string(codegen::kept().join(codegen::FILE)).expect("checked in");
    assert!(fresh == kept, "run `cargo xtask proto`");
}
