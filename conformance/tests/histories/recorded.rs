//! The fifty histories beside this file, recorded from a real cluster, and their verdicts.

use std::{fs, io::BufReader, path::Path};

use conformance::history::{History, Limits, Verdict, check};

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/histories"))
}

fn recorded() -> Vec<(String, History, bool)> {
    let verdicts = fs::read_to_string(directory().join("verdicts.tsv")).unwrap();
    let read = |line: &str| {
        let (name, verdict) = line.split_once('\t').unwrap();
        let linearizable = match verdict {
            "linearizable" => true,
            "not-linearizable" => false,
            other => panic!("{name}: {other:?} is no verdict"),
        };
        let file = fs::File::open(directory().join(name)).unwrap();
        (name.to_owned(), History::read(BufReader::new(file)).unwrap(), linearizable)
    };
    verdicts.lines().map(read).collect()
}

#[test]
fn every_known_verdict_comes_out() {
    let recorded = recorded();
    assert_eq!(recorded.len(), 50);
    for (name, history, linearizable) in recorded {
        match check(&history, Limits::default()) {
            Verdict::Linearizable => assert!(linearizable, "{name}"),
            Verdict::NotLinearizable(violation) => {
                let witness = violation.witness(Limits::default());
                assert!(!linearizable, "{name}\n{witness}");
                assert!(
                    matches!(check(witness.history(), Limits::default()), Verdict::NotLinearizable(_)),
                    "{name}\n{witness}"
                );
            }
            Verdict::Inconclusive(why) => panic!("{name}: {why}"),
        }
    }
}
