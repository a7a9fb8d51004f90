//! The example `snapshot`, run as a program: what it saves it restores, and what is equal it stores once.
#![cfg(all(unix, feature = "sqlite"))]

mod program;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
        net::UnixListener,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use irminsul::{ContentKey, Key, prelude::*};
use tempfile::TempDir;

use self::program::program;

/// A folder with a store in it, and room for directories.
struct Desk {
    folder: TempDir,
    store: String,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = format!("sqlite:{}?sync=normal", folder.path().join("store.db").display());
        Self { folder, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, command: &str, arguments: &[&OsStr]) -> Command {
        let mut program = Command::new(program("snapshot"));
        program.arg(command).arg(&self.store).args(arguments).env("RUST_BACKTRACE", "0");
        program
    }

    /// Runs a command to its success, and gives its output.
    fn run(&self, command: &str, arguments: &[&OsStr]) -> Output {
        let output = self.command(command, arguments).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn save(&self, name: &str, directory: &Path) -> Report {
        Report::of(&self.run("save", &[name.as_ref(), directory.as_ref()]))
    }

    fn restore(&self, name: &str, directory: &Path) {
        self.run("restore", &[name.as_ref(), directory.as_ref()]);
    }

    /// Runs a command to its failure, and gives what it says.
    fn fail(&self, command: &str, arguments: &[&OsStr]) -> String {
        let output = self.command(command, arguments).output().unwrap();
        assert!(!output.status.success(), "{command} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// What `save` reports, line by line.
struct Report(BTreeMap<String, String>);

impl Report {
    fn of(output: &Output) -> Self {
        let text = std::str::from_utf8(&output.stdout).unwrap();
        let lines = text.lines().map(|line| line.split_once("  ").unwrap());
        Self(lines.map(|(name, value)| (name.into(), value.trim().into())).collect())
    }

    fn number(&self, name: &str) -> u64 {
        self.0[name].split(' ').next().unwrap().replace(',', "").parse().unwrap()
    }
}

/// What a directory holds: per path its kind, its mode, and its bytes or target.
fn contents(directory: &Path) -> BTreeMap<PathBuf, (&'static str, u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut to_list = vec![directory.to_path_buf()];
    while let Some(listed) = to_list.pop() {
        for entry in fs::read_dir(listed).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            let what = if metadata.is_symlink() {
                ("link", 0, fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else if metadata.is_dir() {
                to_list.push(path.clone());
                ("directory", mode, Vec::new())
            } else {
                ("file", mode, fs::read(&path).unwrap())
            };
            all.insert(path.strip_prefix(directory).unwrap().to_path_buf(), what);
        }
    }
    all
}

/// Bytes that repeat nowhere, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| random.u8(..)).collect()
}

fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>, mode: u32) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with one of everything.
fn various(directory: &Path) {
    write(directory.join("plain"), "text", 0o644);
    write(directory.join("empty"), "", 0o600);
    write(directory.join("program"), "#!/bin/sh", 0o755);
    write(directory.join("unwritable"), "text", 0o444);
    write(directory.join("large"), noise(1, 5 << 20), 0o640);
    write(directory.join("of one chunk"), noise(2, 1 << 20), 0o644);
    write(directory.join("deep/er/than/that"), "text", 0o644);
    write(directory.join("deep/large too"), noise(1, 5 << 20), 0o644);
    write(directory.join("%41"), "not A", 0o644);
    write(directory.join("A"), "A", 0o644);
    write(directory.join("two\nlines \u{1f984}"), "text", 0o644);
    write(directory.join(OsStr::from_bytes(b"not \xff UTF-8 \xc3")), "text", 0o644);
    write(directory.join("unwritable too/file"), "text", 0o644);
    fs::create_dir_all(directory.join("empty directory/in another")).unwrap();
    symlink("plain", directory.join("link")).unwrap();
    symlink("../nowhere", directory.join("deep/dangling")).unwrap();
    symlink("/etc", directory.join("absolute")).unwrap();
    symlink("deep", directory.join("to a directory")).unwrap();
    symlink(OsStr::from_bytes(b"\xfe%"), directory.join("to no UTF-8")).unwrap();
    mode(&directory.join("empty directory"), 0o700);
    mode(&directory.join("unwritable too"), 0o555);
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_saved_is_restored() {
    let desk = Desk::new();
    let (source, restored) = (desk.path("source"), desk.path("restored"));
    various(&source);
    let report = desk.save("one/of everything", &source);
    desk.restore("one/of everything", &restored);
    let before = contents(&source);
    assert!(contents(&restored) == before);
    let files: Vec<_> = before.values().filter(|(kind, ..)| *kind == "file").collect();
    assert_eq!(report.number("files"), files.len() as u64);
    assert_eq!(report.number("bytes"), files.iter().map(|(_, _, bytes)| bytes.len() as u64).sum::<u64>());
    // So that the folder can be removed by who is not root.
    mode(&source.join("unwritable too"), 0o755);
    mode(&restored.join("unwritable too"), 0o755);
}

#[test]
fn a_restore_goes_into_an_empty_directory_too() {
    let desk = Desk::new();
    let (source, restored) = (desk.path("source"), desk.path("restored"));
    write(source.join("file"), "text", 0o644);
    desk.save("name", &source);
    fs::create_dir(&restored).unwrap();
    desk.restore("name", &restored);
    assert!(contents(&restored) == contents(&source));
}

#[test]
fn an_empty_directory_is_a_snapshot() {
    let desk = Desk::new();
    let (source, restored) = (desk.path("source"), desk.path("restored"));
    fs::create_dir(&source).unwrap();
    desk.save("name", &source);
    desk.restore("name", &restored);
    assert!(restored.is_dir() && contents(&restored).is_empty());
}

#[test]
fn a_second_save_stores_nothing_but_the_snapshot() {
    let desk = Desk::new();
    let source = desk.path("source");
    various(&source);
    desk.save("name", &source);
    for name in ["name", "another"] {
        let report = desk.save(name, &source);
        assert_eq!(report.number("new values"), 1);
        assert!(report.number("new bytes") < 1000);
    }
    mode(&source.join("unwritable too"), 0o755);
}

#[test]
fn a_change_stores_its_chunk_and_the_directories_above_it() {
    let desk = Desk::new();
    let source = desk.path("source");
    let mut large = noise(1, 5 << 20);
    write(source.join("a/b/large"), &large, 0o644);
    write(source.join("beside/it"), "text", 0o644);
    desk.save("name", &source);
    large[3 << 20] ^= 1;
    write(source.join("a/b/large"), &large, 0o644);
    let report = desk.save("name", &source);
    assert_eq!(report.number("new values"), 1 + 3 + 1, "a chunk, three directories, the snapshot");
    assert!(report.number("new bytes") < (1 << 20) + 10_000);
}

#[test]
fn equal_files_are_stored_once() {
    let desk = Desk::new();
    let source = desk.path("source");
    for i in 0..20 {
        write(source.join(format!("{i}/copy")), noise(7, 2 << 20), 0o644);
    }
    let report = desk.save("name", &source);
    assert_eq!(report.number("bytes"), 40 << 20);
    assert_eq!(
        report.number("new values"),
        2 + 1 + 1 + 1,
        "two chunks, the directory of each, the one above, the snapshot"
    );
}

#[test]
fn a_restore_refuses_a_directory_with_something_in_it() {
    let desk = Desk::new();
    let (source, target) = (desk.path("source"), desk.path("target"));
    write(source.join("file"), "saved", 0o644);
    desk.save("name", &source);
    write(target.join("file"), "precious", 0o644);
    let before = contents(&target);
    let said = desk.fail("restore", &["name".as_ref(), target.as_ref()]);
    assert!(said.contains("not empty"), "{said}");
    assert!(contents(&target) == before);
}

#[test]
fn what_is_not_there_is_an_error_that_says_so() {
    let desk = Desk::new();
    let nowhere = desk.path("nowhere");
    desk.save("another", TempDir::new().unwrap().path());
    let said = desk.fail("restore", &["name".as_ref(), desk.path("target").as_ref()]);
    assert!(said.contains("no snapshot \"name\""), "{said}");
    let said = desk.fail("save", &["name".as_ref(), nowhere.as_ref()]);
    assert!(said.contains(nowhere.to_str().unwrap()), "{said}");
    let said = desk.fail("save", &["bad//name".as_ref(), desk.folder.path().as_ref()]);
    assert!(said.contains("empty step"), "{said}");
}

#[test]
fn an_unreadable_file_is_named() {
    let desk = Desk::new();
    let source = desk.path("source");
    write(source.join("secret"), "text", 0o000);
    mode(desk.folder.path(), 0o755);
    let copy = desk.path("program");
    fs::copy(program("snapshot"), &copy).unwrap();
    mode(&copy, 0o755);
    let mut command = Command::new(copy);
    command.args(["save", "mem:", "name"]).arg(&source).current_dir("/");
    if rustix::process::getuid().is_root() {
        // Root reads everything; this is nobody.
        command.uid(65534);
    }
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(source.join("secret").to_str().unwrap()), "{said}");
}

#[test]
fn what_cannot_be_stored_is_skipped_and_named() {
    let desk = Desk::new();
    let (source, restored) = (desk.path("source"), desk.path("restored"));
    write(source.join("file"), "text", 0o644);
    let socket = UnixListener::bind(source.join("socket")).unwrap();
    let output = desk.run("save", &["name".as_ref(), source.as_ref()]);
    drop(socket);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("skipped") && said.contains("socket"), "{said}");
    desk.restore("name", &restored);
    assert_eq!(contents(&restored).into_keys().collect::<Vec<_>>(), [Path::new("file")]);
}

/// A store of its own to look into and write to, as a stranger's program would.
async fn open(desk: &Desk) -> (std::sync::Arc<dyn irminsul::AtomicWrite>, std::sync::Arc<dyn irminsul::Indexable>) {
    let store = irminsul::open(&*desk.store).await.unwrap();
    (store.atomic_write().unwrap(), store.indexable().unwrap())
}

#[tokio::test]
async fn a_hostile_snapshot_writes_nothing_outside() {
    let desk = Desk::new();
    let (names, content) = open(&desk).await;
    let add = async |text: String| content.add(text.into()).await.unwrap().to_hash();
    let outside = desk.path("outside");
    fs::create_dir(&outside).unwrap();

    let chunk = add("pwned".into()).await;
    let file = format!(r#""file":{{"mode":420,"size":5,"chunks":["{chunk}"]}}"#);
    let below = add(format!(r#"[{{"name":"file",{file}}}]"#)).await;
    let directory = format!(r#""directory":{{"mode":493,"tree":"{below}"}}"#);
    let link = format!(r#""symlink":{{"target":"{}"}}"#, outside.display());
    let trees = [
        format!(r#"[{{"name":"..",{directory}}}]"#),
        format!(r#"[{{"name":"../outside/file",{file}}}]"#),
        format!(r#"[{{"name":"%2e%2e%2foutside%2ffile",{file}}}]"#),
        format!(r#"[{{"name":"{}/file",{file}}}]"#, outside.display()),
        format!(r#"[{{"name":"",{file}}}]"#),
        format!(r#"[{{"name":".",{directory}}}]"#),
        format!(r#"[{{"name":"a%00b",{file}}}]"#),
        format!(r#"[{{"name":"x",{link}}},{{"name":"x",{directory}}}]"#),
        format!(r#"[{{"name":"x",{directory}}},{{"name":"x",{link}}}]"#),
        format!(r#"[{{"name":"x",{link}}},{{"name":"%78",{file}}}]"#),
        format!(r#"[{{"name":"x",{file},{directory}}}]"#),
        format!(r#"[{{"name":"x",{link},{file}}}]"#),
        format!(r#"[{{"name":"x",{file}}},{{"name":"y",{file}}}]"#),
        format!(r#"[{{"name":"x",{directory}}},{{"name":"y",{directory}}},{{"name":"z",{directory}}}]"#),
        format!(r#"[{{"name":"x","file":{{"mode":420,"size":5,"chunks":["{chunk}","{chunk}"]}}}}]"#),
    ];
    for (i, tree) in trees.into_iter().enumerate() {
        let root = add(tree.clone()).await;
        let snapshot = format!(
            r#"{{"format":1,"tree":"{root}","mode":493,"parent":null,"saved":0,"entries":2,"files":1,"bytes":5}}"#
        );
        let snapshot = add(snapshot).await;
        let name = format!("hostile {i}");
        names.set(&Key::new(format!("snapshots/{name}")).unwrap(), snapshot.to_string().into()).await.unwrap();
        let target = desk.path(&format!("target {i}"));
        let said = desk.fail("restore", &[name.as_ref(), target.as_ref()]);
        assert!(said.contains("refused"), "{tree}: {said}");
        assert!(contents(&outside).is_empty(), "{tree} wrote outside");
        assert!(contents(&target).is_empty(), "{tree} left something behind");
    }
}

#[tokio::test]
async fn savers_of_one_name_follow_each_other() {
    const SAVERS: usize = 4;
    let desk = Desk::new();
    let mut savers = Vec::new();
    for i in 0..SAVERS {
        let source = desk.path(&format!("source {i}"));
        write(source.join("file"), noise(i as u64, 100_000), 0o644);
        savers.push(desk.command("save", &["name".as_ref(), source.as_ref()]).stdout(Stdio::null()).spawn().unwrap());
    }
    for mut saver in savers {
        assert!(saver.wait().unwrap().success());
    }
    let (names, content) = open(&desk).await;
    let latest = names.find(&Key::new("snapshots/name").unwrap()).await.unwrap().unwrap();
    let mut next: Option<ContentKey> = Some(std::str::from_utf8(&latest).unwrap().parse().unwrap());
    let mut history = Vec::new();
    while let Some(key) = next {
        let snapshot = content.find(&key).await.unwrap().unwrap();
        let snapshot: serde_json::Value = serde_json::from_slice(&snapshot).unwrap();
        history.push(snapshot["tree"].to_string());
        next = snapshot["parent"].as_str().map(|parent| parent.parse().unwrap());
    }
    history.sort();
    history.dedup();
    assert_eq!(history.len(), SAVERS, "every save is in the history of the name");
}

#[test]
fn list_shows_each_name() {
    let desk = Desk::new();
    let source = desk.path("source");
    write(source.join("file"), "text", 0o644);
    for name in ["b", "a/nested", "a"] {
        desk.save(name, &source);
    }
    let output = desk.run("list", &[]);
    let listed = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = listed.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(names, ["a", "a/nested", "b"]);
    assert!(listed.lines().all(|line| line.ends_with("1 files\t4 B")), "{listed}");
}

/// A program that is stopped when its test ends, however that ends.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The lines of a running program, each awaited for so long at most.
struct Lines(mpsc::Receiver<String>);

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self(lines)
    }

    fn next(&self) -> String {
        self.0.recv_timeout(Duration::from_mins(2)).expect("the program says something")
    }

    fn wait_for(&self, part: &str) -> String {
        std::iter::repeat_with(|| self.next()).find(|line| line.contains(part)).unwrap()
    }
}

#[test]
fn follow_tells_each_move_of_the_name() {
    let desk = Desk::new();
    let source = desk.path("source");
    fs::create_dir(&source).unwrap();
    desk.save("name", &source);
    let mut following = Running::start(desk.command("follow", &["name".as_ref()]));
    let told = Lines::of(following.0.stdout.take().unwrap());
    assert!(told.next().contains("\t0 files\t"), "what the name means at first");
    for i in 1..4 {
        write(source.join(i.to_string()), "text", 0o644);
        desk.save("name", &source);
        let line = told.next();
        assert!(line.starts_with("name\t") && line.contains(&format!("\t{i} files\t")), "{line}");
    }
}

#[tokio::test]
async fn follow_goes_on_after_a_name_that_is_no_snapshot() {
    let desk = Desk::new();
    let source = desk.path("source");
    write(source.join("file"), "text", 0o644);
    desk.save("good", &source);
    let (names, _) = open(&desk).await;
    let [good, name] = ["snapshots/good", "snapshots/name"].map(|key| Key::new(key).unwrap());
    let value = names.find(&good).await.unwrap().unwrap();
    names.set(&name, "garbage".into()).await.unwrap();
    let mut following = Running::start(desk.command("follow", &["name".as_ref()]));
    let said = Lines::of(following.0.stderr.take().unwrap()).wait_for("the watch goes on");
    assert!(said.contains("snapshots/name") && !said.contains("garbage"), "{said}");
    names.set(&name, value).await.unwrap();
    let told = Lines::of(following.0.stdout.take().unwrap()).next();
    assert!(told.starts_with("name\t"), "{told}");
}

#[tokio::test]
async fn a_bad_name_hides_no_other_and_is_named() {
    let desk = Desk::new();
    let source = desk.path("source");
    write(source.join("file"), "text", 0o644);
    desk.save("good", &source);
    let (names, content) = open(&desk).await;
    let newer = content.add(r#"{"format":2,"roots":["elsewhere"]}"#.into()).await.unwrap().to_string();
    let secret = content.add(r#""secret""#.into()).await.unwrap().to_string();
    for (name, value) in [("bad", "garbage".into()), ("evil \u{1b}[2J", secret), ("newer", newer)] {
        names.set(&Key::new("snapshots").unwrap().join(name).unwrap(), value.into()).await.unwrap();
    }
    let output = desk.command("list", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(listed.starts_with("good\t") && listed.lines().count() == 1, "{listed}");
    let said = String::from_utf8(output.stderr).unwrap();
    let line = |name: &str| said.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("bad: ").contains("snapshots/bad"), "{said}");
    assert!(line("newer: ").contains("the format 2"), "{said}");
    assert!(line("evil \\u{1b}[2J: ").contains("not what a snapshot is made of"), "{said}");
    assert!(!said.contains("secret") && !said.contains('\u{1b}'), "{said}");
}

#[tokio::test]
async fn a_save_to_a_bad_name_reads_no_directory() {
    let desk = Desk::new();
    let (names, _) = open(&desk).await;
    names.set(&Key::new("snapshots/bad").unwrap(), "garbage".into()).await.unwrap();
    let said = desk.fail("save", &["bad".as_ref(), desk.path("nowhere").as_ref()]);
    assert!(said.contains("snapshots/bad") && !said.contains("nowhere"), "{said}");
}

#[test]
fn a_store_inside_the_saved_directory_is_not_saved() {
    let desk = Desk::new();
    let restored = TempDir::new().unwrap();
    write(desk.path("file"), "text", 0o644);
    write(desk.path("other.db-wal"), "of another store", 0o644);
    desk.save("name", desk.folder.path());
    let output = desk.run("save", &["name".as_ref(), desk.folder.path().as_ref()]);
    assert_eq!(Report::of(&output).number("new values"), 1, "the snapshot alone");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("skipped") && said.contains("store.db"), "{said}");
    desk.restore("name", restored.path());
    let names: Vec<_> = contents(restored.path()).into_keys().collect();
    assert_eq!(names, [Path::new("file"), Path::new("other.db-wal")]);
}

#[test]
fn only_save_creates_a_store() {
    let desk = Desk::new();
    let target = desk.path("target");
    let commands: [(&str, &[&OsStr]); 3] =
        [("list", &[]), ("restore", &["name".as_ref(), target.as_ref()]), ("follow", &["name".as_ref()])];
    for (command, arguments) in commands {
        let said = desk.fail(command, arguments);
        assert!(said.contains("store.db"), "{said}");
        assert!(contents(desk.folder.path()).is_empty(), "{command} created something");
    }
}

#[test]
fn what_vanishes_while_it_is_saved_is_skipped() {
    let desk = Desk::new();
    let (source, restored) = (desk.path("source"), desk.path("restored"));
    write(source.join("vanishing file"), "text", 0o644);
    fs::create_dir_all(source.join("deep/vanishing directory")).unwrap();
    // More sockets to tell of than a pipe takes: as long as nobody reads, the program is busy listing them.
    let socket = UnixListener::bind(source.join("deep/socket")).unwrap();
    for i in 0..5000 {
        fs::hard_link(source.join("deep/socket"), source.join(format!("deep/{i:0200}"))).unwrap();
    }
    let mut saving = Running::start(desk.command("save", &["name".as_ref(), source.as_ref()]));
    let mut said = saving.0.stderr.take().unwrap();
    said.read_exact(&mut [0]).unwrap();
    fs::remove_file(source.join("vanishing file")).unwrap();
    fs::remove_dir(source.join("deep/vanishing directory")).unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    drop(socket);
    assert!(saving.0.wait().unwrap().success());
    assert!(rest.lines().any(|line| line.starts_with("skipped") && line.contains("vanishing file")));
    desk.restore("name", &restored);
    assert_eq!(contents(&restored).into_keys().collect::<Vec<_>>(), [Path::new("deep")]);
}

#[test]
fn no_name_steers_the_terminal() {
    let desk = Desk::new();
    let source = desk.path("source \u{1b}[2J");
    fs::create_dir(&source).unwrap();
    let socket = UnixListener::bind(source.join(OsStr::from_bytes(b"\x1b]0;\xff\r"))).unwrap();
    let output = desk.run("save", &["name".as_ref(), source.as_ref()]);
    drop(socket);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(r"\u{1b}]0;\xFF\r") && !said.contains(['\u{1b}', '\r']), "{said}");
    let said = desk.fail("save", &["name".as_ref(), source.join("nowhere").as_ref()]);
    assert!(said.contains(r"\u{1b}[2J") && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn the_directory_itself_keeps_its_mode() {
    for kept in [0o700, 0o555, 0o775] {
        let desk = Desk::new();
        let (source, restored) = (desk.path("source"), desk.path("restored"));
        write(source.join("file"), "text", 0o644);
        mode(&source, kept);
        desk.save("name", &source);
        desk.restore("name", &restored);
        assert_eq!(fs::metadata(&restored).unwrap().permissions().mode() & 0o7777, kept);
        // So that the folder can be removed by who is not root.
        mode(&source, 0o755);
        mode(&restored, 0o755);
    }
}

#[tokio::test]
async fn a_restore_that_stops_says_what_to_remove() {
    let desk = Desk::new();
    let target = desk.path("target");
    let (names, content) = open(&desk).await;
    let add = async |text: String| content.add(text.into()).await.unwrap().to_hash();
    let missing = add("lost".into()).await.to_string().replace(['0', '1', '2'], "3");
    let tree = format!(r#"[{{"name":"file","file":{{"mode":420,"size":4,"chunks":["{missing}"]}}}}]"#);
    let tree = add(tree).await;
    let snapshot =
        format!(r#"{{"format":1,"tree":"{tree}","mode":493,"parent":null,"saved":0,"entries":1,"files":1,"bytes":4}}"#);
    let snapshot = add(snapshot).await.to_string();
    names.set(&Key::new("snapshots/name").unwrap(), snapshot.into()).await.unwrap();
    let said = desk.fail("restore", &["name".as_ref(), target.as_ref()]);
    assert!(said.contains("does not hold") && said.contains("target") && said.contains("remove it first"), "{said}");
}
