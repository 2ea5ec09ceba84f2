#!/bin/sh
# Shows: an update within one major version of a template engine changes how it writes a truth and nothing.
# With: crates minijinja 2.12.0 and 2.24.0; needs cargo.
# Seen: 2.12.0 writes `true`, `false` and `none`; 2.24.0 writes `True`, `False` and `None`, also inside lists, as Python does. In
#       YAML an unquoted `True` is mostly still read as a truth. Where it becomes a text, as in every annotation and label of
#       Kubernetes, whoever looks for `true` finds something else, and nothing fails.
set -eu
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
written() {
    mkdir -p "v$1/src"
    cat > "v$1/Cargo.toml" <<TOML
[package]
name = "truths"
version = "0.1.0"
edition = "2021"
[dependencies]
minijinja = { version = "=$1", default-features = false, features = ["serde"] }
TOML
    cat > "v$1/src/main.rs" <<'RUST'
fn main() {
    let template = "kept: \"{{ kept }}\" {{ [kept, not kept] }} {{ none }}";
    println!("{}", minijinja::render!(template, kept => true));
}
RUST
    cargo run --quiet --manifest-path "v$1/Cargo.toml"
}
before=$(written 2.12.0)
after=$(written 2.24.0)
echo "2.12.0 writes: $before"
echo "2.24.0 writes: $after"
[ "$before" = 'kept: "true" [true, false] none' ]
[ "$after" = 'kept: "True" [True, False] None' ]
