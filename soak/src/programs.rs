//! The programs that are run, as cargo builds them.

use std::{
    collections::{BTreeSet, HashMap},
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::rows::{Row, Work};

/// A test that is built in any case: the dependencies have other features where tests do not need them, and all would be
/// compiled once more.
const ANY_TEST: &str = "soak";

/// Where they are: by the folder of the package, and the name.
pub(crate) struct Programs {
    built: HashMap<(PathBuf, String), PathBuf>,
}

/// What cargo says of what it builds.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        manifest_path: PathBuf,
        target: Target,
        executable: Option<PathBuf>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

impl Programs {
    /// Builds what the rows need at once.
    pub(crate) fn build(rows: &[Row], options: &[String]) -> Result<Self> {
        let tests: BTreeSet<_> = rows.iter().filter_map(test_of).map(|(_, test)| test).chain([ANY_TEST]).collect();
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--quiet", "--message-format=json-render-diagnostics"])
            .args(options)
            .args(["--bin", "irminsul"])
            .args(tests.iter().flat_map(|test| ["--test", test]))
            .stderr(Stdio::inherit())
            .output()
            .context("cargo cannot be run")?;
        ensure!(output.status.success(), "cargo could not build what is to be run");
        let programs = Self::in_messages(&String::from_utf8(output.stdout)?, &env::current_dir()?)?;
        programs.irminsul()?;
        for (folder, test) in rows.iter().filter_map(test_of) {
            programs.test(folder, test)?;
        }
        Ok(programs)
    }

    fn in_messages(messages: &str, root: &Path) -> Result<Self> {
        let mut built = HashMap::new();
        for line in messages.lines() {
            let message = serde_json::from_str(line).context("cargo says what is not known of it")?;
            if let Message::CompilerArtifact { manifest_path, target, executable: Some(program) } = message
                && let Some(folder) = manifest_path.parent().and_then(|folder| folder.strip_prefix(root).ok())
            {
                built.insert((folder.to_owned(), target.name), program);
            }
        }
        Ok(Self { built })
    }

    pub(crate) fn irminsul(&self) -> Result<&Path> {
        self.named("irminsul-cli", "irminsul")
    }

    pub(crate) fn test(&self, folder: &str, test: &str) -> Result<&Path> {
        self.named(folder, test)
    }

    fn named(&self, folder: &str, name: &str) -> Result<&Path> {
        let program = self.built.get(&(folder.into(), name.to_owned()));
        program.map(PathBuf::as_path).with_context(|| format!("{name} of {folder} was not built"))
    }
}

fn test_of(row: &Row) -> Option<(&'static str, &'static str)> {
    match row.work {
        Work::Test { folder, test, .. } => Some((folder, test)),
        _ => None,
    }
}
