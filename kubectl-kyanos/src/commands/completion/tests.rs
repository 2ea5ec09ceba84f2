//! The shim in a folder of the PATH.

use super::*;

#[test]
fn the_shim_can_be_run_and_is_written_again() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let path = install(folder.path()).expect("written");
        let (name, script) = platform::SHIM;
        assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(name));
        assert_eq!(std::fs::read_to_string(&path).expect("a script"), script);
        #[cfg(unix)]
        {
            let file = path.metadata().expect("a file");
            assert_eq!(std::os::unix::fs::MetadataExt::mode(&file) & 0o111, 0o111);
        }
    }
}
