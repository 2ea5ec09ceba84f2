//! Writes the generated file anew; run it as `cargo xtask proto`.

fn main() -> anyhow::Result<()> {
    codegen::generate_into(&codegen::kept())
}
