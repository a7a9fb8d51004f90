//! Output whose reader goes away.

use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use irminsul::Key;

use crate::sandbox::Sandbox;

#[test]
fn a_closed_pipe_ends_the_command_quietly() {
    let sandbox = Sandbox::new();
    sandbox.with_store("a.db", async |store| {
        let entries = store.atomic_write().unwrap();
        let value = irminsul::Bytes::from("x".repeat(1 << 20));
        entries.set(&Key::new("large").unwrap(), value).await.unwrap();
        for i in 0..2000 {
            entries.set(&Key::new(format!("{i:0>100}")).unwrap(), "".into()).await.unwrap();
        }
    });
    for args in [&["ls", "sqlite:a.db?sync=off"][..], &["get", "sqlite:a.db", "large"]] {
        let mut child = sandbox.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        assert!(!stdout.fill_buf().unwrap().is_empty());
        drop(stdout);
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), &*stderr), (Some(141), ""), "{args:?}");
    }
}
