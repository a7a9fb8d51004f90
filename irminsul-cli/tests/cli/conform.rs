//! `conform`: what it says and how it exits, and that it leaves nothing behind.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::Sandbox;

/// A few cases, of which none takes long.
const FEW: &str = "atomic/A2-*";

#[test]
fn a_sound_store_passes_and_the_table_says_which_clauses_it_keeps() {
    let table = Sandbox::new().ok(&["conform", "mem:", "mem:shared", "sqlite:", "--case", FEW, "--seed", "7"]);
    for told in [
        "profile quick, seed 7, cases atomic/A2-*",
        "Atomic writes",
        "A2   Compare-and-set, byte for byte",
        "passed  mem:\n",
        "passed  mem:shared\n",
        "passed  sqlite:\n",
    ] {
        assert!(table.contains(told), "{told}:\n{table}");
    }
    let declared: Vec<&str> = table.lines().filter(|line| line.contains("declares")).collect();
    let visibilities = ["visibility Instance", "visibility Process", "visibility Host"];
    assert!(declared.iter().zip(visibilities).all(|(line, level)| line.contains(level)), "{declared:?}");
}

#[test]
fn what_is_at_the_address_is_left_alone_and_nothing_is_left_behind() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["put", "sqlite:a.db", "key", "value"]);
    let before = fs::read(sandbox.path("a.db")).unwrap();
    sandbox.ok(&["conform", "sqlite:a.db", "sqlite:b.db?sync=off", "--case", FEW]);
    assert_eq!(fs::read(sandbox.path("a.db")).unwrap(), before);
    let names: Vec<_> = fs::read_dir(sandbox.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a.db"]);
}

#[test]
fn a_report_is_a_page_and_an_object_of_json() {
    let sandbox = Sandbox::new();
    let told = sandbox.ok(&["conform", "mem:", "--case", FEW, "--seed", "7", "--report", "out/report"]);
    assert!(told.contains("out/report/report.html") && told.contains("out/report/report.json"), "{told}");
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(sandbox.path("out/report/report.json")).unwrap()).unwrap();
    assert_eq!(report["seed"], 7);
    let case = &report["backends"][0]["cases"][0];
    assert_eq!(case["verdict"], "pass");
    let (program, id) = (env!("CARGO_BIN_EXE_irminsul"), case["id"].as_str().unwrap());
    assert_eq!(case["replay"], format!("{program} conform mem: --seed 7 --case {id}"));
    let page = fs::read_to_string(sandbox.path("out/report/report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("mem: keeps what it declares"));
    assert_eq!(fs::read_dir(sandbox.path("out/report")).unwrap().count(), 2);
}

#[test]
fn a_soak_goes_on_with_the_next_seed_where_the_one_before_stopped() {
    let sandbox = Sandbox::new();
    let pass = ["conform", "mem:", "--case", FEW, "--for", "0s", "--report", "out"];
    let state =
        || -> serde_json::Value { serde_json::from_slice(&fs::read(sandbox.path("out/soak.json")).unwrap()).unwrap() };
    sandbox.ok(&[&pass[..], &["--seed", "7"]].concat());
    let first = serde_json::json!({
        "stores": ["mem:"], "profile": "soak", "cases": FEW, "faulty_fs": false, "seed": 7,
        "kills": 0, "power_losses": 0, "next_pass": 1, "failures": []
    });
    assert_eq!(state(), first);
    sandbox.ok(&pass);
    assert_eq!(state()["next_pass"], 2);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(sandbox.path("out/report.json")).unwrap()).unwrap();
    assert_eq!(report["backends"][0]["cases"][0]["seed"], 8);
    sandbox.run(&[&pass[..], &["--seed", "8"]].concat()).refused("began with seed 7");
}

#[test]
fn a_soak_keeps_by_how_much_a_loaded_process_grew() {
    let sandbox = Sandbox::new();
    let growth = || {
        let case = "handle/L2-what-comes-and-goes-leaves-nothing-behind";
        let shown =
            sandbox.ok(&["conform", "mem:", "--profile", "quick", "--case", case, "--for", "0s", "--report", "out"]);
        assert!(shown.contains(" turns of load (grown by 0 threads, 0 tasks, 0 open files, "), "{shown}");
        let kept: serde_json::Value =
            serde_json::from_slice(&fs::read(sandbox.path("out/soak.json")).unwrap()).unwrap();
        (kept["growth"]["turns"].as_u64().unwrap(), kept["growth"]["threads"].as_u64())
    };
    let (turns, threads) = growth();
    assert!(turns > 0);
    assert_eq!(threads, Some(0));
    assert!(growth().0 >= 2 * turns);
}

#[test]
fn a_soak_counts_how_often_the_stores_were_cut_off() {
    let sandbox = Sandbox::new();
    let case = "atomic/A10-a-killed-writer-brings-back-nothing-cleared";
    let mut before = 0;
    for _ in 0..2 {
        sandbox.ok(&[
            "conform",
            "sqlite:a.db?busy=120000",
            "--profile",
            "quick",
            "--for",
            "0s",
            "--case",
            case,
            "--report",
            "out",
        ]);
        let soak: serde_json::Value =
            serde_json::from_slice(&fs::read(sandbox.path("out/soak.json")).unwrap()).unwrap();
        let kills = soak["kills"].as_u64().unwrap();
        assert!(kills > before, "{soak}");
        before = kills;
    }
}

#[test]
fn quick_passes_follow_each_other_too() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["conform", "mem:", "--case", FEW, "--profile", "quick", "--for", "1s", "--report", "out"]);
    let soak: serde_json::Value = serde_json::from_slice(&fs::read(sandbox.path("out/soak.json")).unwrap()).unwrap();
    assert_eq!(soak["profile"], "quick");
    assert!(soak["next_pass"].as_u64() > Some(1), "{soak}");
}

#[test]
fn a_soak_goes_on_with_nothing_but_what_it_is_of() {
    let sandbox = Sandbox::new();
    let soak = |args: &[&str]| sandbox.run(&[&["conform", "--for", "0s", "--report", "out"], args].concat());
    soak(&["mem:", "--case", FEW]).expect(0);
    for (args, told) in [
        (&["mem:other", "--case", FEW][..], "other stores"),
        (&["mem:", "--case", "atomic/A3-*"], "other cases"),
        (&["mem:", "--case", FEW, "--profile", "quick"], "other thoroughness"),
        (&["mem:", "--case", FEW, "--faulty-fs", "missing"], "other equipment"),
    ] {
        soak(args).refused(told);
    }
    soak(&["mem:", "--case", FEW]).expect(0);
}

#[test]
fn a_soak_does_not_forget_what_failed_in_an_earlier_run() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("out")).unwrap();
    let earlier = serde_json::json!({
        "stores": ["mem:"], "profile": "soak", "cases": FEW, "faulty_fs": false, "seed": 7, "next_pass": 3,
        "failures": ["irminsul conform mem: --seed 9"]
    });
    sandbox.write("out/soak.json", earlier.to_string());
    let told = sandbox.run(&["conform", "mem:", "--case", FEW, "--for", "0s", "--report", "out"]).expect(1);
    assert!(told.contains("passed  mem:"), "{told}");
    let end = "failed, or not settled, in an earlier run of this soak: irminsul conform mem: --seed 9\n";
    assert!(told.ends_with(end), "{told}");
    sandbox.write("out/soak.json", "[]");
    sandbox.run(&["conform", "mem:", "--case", FEW, "--for", "0s", "--report", "out"]).refused("soak.json");
}

#[test]
fn the_list_names_the_cases_that_a_pattern_asks_for() {
    let sandbox = Sandbox::new();
    let all = sandbox.ok(&["conform", "--list"]);
    let few = sandbox.ok(&["conform", "--list", "--case", FEW]);
    assert!(few.lines().count() < all.lines().count());
    assert!(few.lines().all(|id| id.starts_with("atomic/A2-") && all.contains(id)), "{few}");
}

#[test]
fn bad_usage_is_refused_before_anything_is_tested() {
    let sandbox = Sandbox::new();
    for (args, told) in [
        (&["mem:", "--case", "nothing-is-called-so"][..], "the areas are atomic/"),
        (&["mem:", "mem:"], "named twice"),
        (&["mem:", "--profile", "slow"], "quick, standard, soak"),
        (&["mem:", "--for", "90"], "a duration is"),
        (&["mem:?colour=red"], "the option `colour`"),
        (&["nothing:"], "the schemes compiled in are "),
        (&["sqlite:missing/a.db"], "does not exist"),
        (&["mem:", "--report", "file/report"], "cannot write file/report"),
    ] {
        sandbox.write("file", "");
        sandbox.run(&[&["conform"], args].concat()).refused(told);
    }
    assert_eq!(sandbox.run(&["conform"]).code, Some(2));
}

#[test]
fn an_interrupted_run_removes_its_stores() {
    for case in [FEW, "atomic/A10-a-kill-amid-*"] {
        interrupt(case);
    }
}

fn interrupt(case: &str) {
    let sandbox = Sandbox::new();
    let mut run = sandbox.command(&["conform", "sqlite:a.db", "--for", "1h", "--case", case, "--report", "out"]);
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The first pass has ended, so that the next one is on its way.
    while !sandbox.path("out/report.json").exists() {
        assert!(run.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let mut errors = BufReader::new(run.stderr.take().unwrap()).lines();
    assert_eq!(errors.next().unwrap().unwrap(), "irminsul: interrupted");
    let mut told = String::new();
    run.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(told, "");
    let names: Vec<_> = fs::read_dir(sandbox.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["out"], "{case}");
}

#[test]
fn the_command_is_the_other_processes_that_it_tests_a_store_with() {
    let sandbox = Sandbox::new();
    let case = "atomic/A1-processes-lose-no-increment";
    let table = sandbox.ok(&["conform", "sqlite:a.db?busy=120000", "--case", case]);
    assert!(table.contains("passed  sqlite:a.db?busy=120000\n        1 passed, "), "{table}");
}

#[test]
fn what_an_address_rules_out_is_not_demanded_of_it() {
    let sandbox = Sandbox::new();
    for (store, case) in [
        ("mem:?verify=off", "index/I4-*"),
        ("mem:?verify=off", "index/I7-a*"),
        ("sqlite:a.db?verify=off", "index/I4-*"),
        ("sqlite:a.db?verify=off", "atomic/A12-*"),
        ("sqlite:a.db?hash=sha256", "handle/L5-*"),
        ("sqlite:a.db?hash=blake3", "handle/L5-*"),
    ] {
        let table = sandbox.ok(&["conform", store, "--case", case]);
        assert!(table.contains(&format!("passed  {store}\n")), "{table}");
    }
}
