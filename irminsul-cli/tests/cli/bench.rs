//! `bench`: what it says and how it exits, and that it leaves nothing behind.

use std::fs;

use crate::sandbox::Sandbox;

#[test]
fn stores_of_one_durability_share_a_table_with_a_store_that_does_nothing() {
    let told = Sandbox::new().ok(&["bench", "mem:", "sqlite:", "--quick", "--clients", "1,2", "--records", "10"]);
    for part in [
        "irminsul bench --quick --clients 1,2 --records 10 mem: sqlite:\n",
        "set, where a write survives nothing\n",
        "contended test-and-set, where a write survives nothing\n",
        "Delivery to watchers\n",
        "A neighbour of a loaded store\n",
        " 1 client ",
        "2 clients ",
        " is seen by ",
        " the host ",
        "no other instance can open it",
        " irminsul 0.",
        "each row is of one run: differences below a factor of two mean nothing",
        "All stores at a glance\n",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    assert!(!told.contains(" syncs "), "{told}");
    assert!(
        told.lines().any(|line| line.starts_with(" sqlite: (in a file) ") && line.contains("power loss")),
        "{told}"
    );
    let last = told.split("All stores at a glance\n").nth(1).expect("the table is there");
    for store in [" mem: ", " sqlite: ", " nothing "] {
        assert_eq!(last.lines().filter(|line| line.starts_with(store)).count(), 1, "{store}:\n{last}");
    }
    for store in [" mem: ", " sqlite: ", " nothing "] {
        assert!(told.lines().filter(|line| line.starts_with(store)).count() >= 10, "{store}:\n{told}");
    }
}

#[test]
fn only_the_workloads_that_are_asked_for_are_measured() {
    let arguments = ["bench", "mem:", "--quick", "--clients", "1", "--records", "10", "--workload", "YCSB B,find"];
    let told = Sandbox::new().ok(&arguments);
    assert!(told.contains("irminsul bench --quick --clients 1 --records 10 --workload ycsb-b,find mem:\n"), "{told}");
    let measured = |workload: &str| told.lines().any(|line| line.starts_with(&format!("{workload}, where a write ")));
    assert!(measured("find") && measured("YCSB B") && !measured("set") && !measured("YCSB A"), "{told}");
    assert!(!told.contains("Delivery to watchers") && !told.contains("A neighbour of"), "{told}");
}

#[test]
fn a_mix_of_reads_and_writes_is_measured_as_often_as_it_is_asked_for() {
    let arguments = ["bench", "mem:", "--quick", "--clients", "1", "--records", "10", "--reads", "80", "--runs", "2"];
    let told = Sandbox::new().ok(&[&arguments[..], &["--report", "out"]].concat());
    assert!(told.contains("irminsul bench --quick --clients 1 --records 10 --reads 80 --runs 2 mem:\n"), "{told}");
    assert!(told.contains("80 % reads, where a write survives nothing\n"), "{told}");
    assert!(told.contains("80 % reads, 20 % writes of any record; "), "{told}");
    assert!(!told.contains("YCSB") && !told.contains("Delivery to watchers"), "{told}");
}

#[test]
fn the_help_names_every_workload_that_can_be_asked_for() {
    let sandbox = Sandbox::new();
    let told = sandbox.ok(&["bench", "--help"]);
    let words: Vec<&str> = told.split(|c: char| c.is_whitespace() || c == ',').collect();
    let refused = sandbox.run(&["bench", "mem:", "--workload", "nosuch"]).stderr;
    let names = refused.split_once("the workloads are ").expect("they are named").1.trim().split(", ");
    assert_eq!(names.filter(|name| words.contains(name)).count(), 12, "{told}");
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_cache_is_told_in_units() {
    let arguments = ["bench", "rocksdb:a", "--quick", "--clients", "1", "--records", "10", "--workload", "find"];
    let told = Sandbox::new().ok(&arguments);
    assert!(told.contains(" 64.0 MiB ") && !told.contains("67108864"), "{told}");
}

#[test]
fn what_is_at_the_address_is_left_alone_and_the_report_is_all_that_stays() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", "sqlite:a.db", "key", "value"]);
    let before = fs::read(sandbox.path("a.db")).unwrap();
    let arguments = ["bench", "sqlite:a.db", "--quick", "--clients", "1", "--records", "10", "--report", "out"];
    let told = sandbox.ok(&arguments);
    assert!(told.contains("set, where a write survives a power loss\n"), "{told}");
    assert_eq!(fs::read(sandbox.path("a.db")).unwrap(), before);
    let names = |directory: &str| {
        let entries = fs::read_dir(sandbox.path(directory)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["a.db", "out"]);
    assert_eq!(names("out"), ["report.html", "report.json", "report.md"]);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(sandbox.path("out/report.json")).unwrap()).unwrap();
    assert_eq!(report["subjects"][0]["durability"], "Power");
    assert_eq!(report["subjects"][0]["syncs"], serde_json::Value::Null);
    assert_eq!(report["plan"]["records"], 10);
}

#[test]
fn what_no_run_can_have_is_refused_in_one_line() {
    let sandbox = Sandbox::new();
    for (arguments, told) in [
        (&["bench", "mem:", "mem:"][..], "named twice"),
        (&["bench", "mem:", "--clients", "64", "--records", "63"], "64 clients need as many records"),
        (&["bench", "nosuch:"], "the scheme `nosuch` is not known"),
        (&["bench", "mem:", "--clients", "0"], "--clients <N>: give whole numbers from 1 on, such as 1,64"),
        (&["bench", "mem:", "--clients", "1,a"], "--clients <N>: give whole numbers from 1 on, such as 1,64"),
        (&["bench", "mem:", "--reads", "101"], "--reads <PERCENT>: give whole numbers from 0 to 100, such as 80"),
        (&["bench", "mem:", "--value", "0"], "give them 1 or more"),
        (&["bench", "mem:", "--value", "60000000", "--records", "1000000"], "ask for fewer, or for shorter values"),
        (
            &["bench", "mem:", "--workload", "ycsb"],
            "the workloads are find, set, test-and-set, contended-test-and-set, ",
        ),
        (&["bench", "mem:", "--value", "67108865"], "64 MiB"),
        (&["bench", "mem:", "--records", "18446744073709551615"], "10000000 records or fewer"),
    ] {
        let ran = sandbox.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(told) && ran.stderr.lines().count() == 1, "{arguments:?}: {}", ran.stderr);
    }
}
