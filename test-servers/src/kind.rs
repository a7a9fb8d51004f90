//! The servers: how each is started, and when it is ready.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use crate::{account, installed, request::status};

/// A server that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// SeaweedFS: a distributed, durable object store that speaks S3.
    SeaweedFs,
    /// ministack: an emulator of S3 that starts in half a second.
    Ministack,
    /// Azurite: the emulator of Azure Blob.
    Azurite,
    /// s3rver: an emulator of S3 that takes conditional writes and ignores the conditions. The bad example.
    S3rver,
}

/// The bucket, or container, that each of them has.
pub(crate) const BUCKET: &str = "irminsul";

const ACCESS_KEY: &str = "irminsul-test";
const SECRET_KEY: &str = "irminsul-test-secret";

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::SeaweedFs, Self::Ministack, Self::Azurite, Self::S3rver];

    /// Its name in lower case, as the program `test-servers` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SeaweedFs => "seaweedfs",
            Self::Ministack => "ministack",
            Self::Azurite => "azurite",
            Self::S3rver => "s3rver",
        }
    }

    /// The scheme of the addresses of its stores.
    pub(crate) fn scheme(self) -> &'static str {
        if self == Self::Azurite { "az" } else { "s3" }
    }

    /// The program, or `None` when it is not installed.
    pub(crate) fn program(self) -> Option<PathBuf> {
        installed::program(match self {
            Self::SeaweedFs => "python/bin/weed",
            Self::Ministack => "python/bin/ministack",
            Self::Azurite => "node_modules/.bin/azurite-blob",
            Self::S3rver => "node_modules/.bin/s3rver",
        })
    }

    /// How many ports it listens on. The first is that of its clients.
    pub(crate) fn ports(self) -> usize {
        if self == Self::SeaweedFs { 10 } else { 1 }
    }

    /// What starts it, keeping its files in `folder`.
    pub(crate) fn command(self, program: &Path, ports: &[u16], folder: &Path) -> io::Result<Command> {
        let mut command = Command::new(program);
        command.current_dir(folder);
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        match self {
            Self::SeaweedFs => {
                let users = folder.join("users.json");
                fs::write(&users, seaweedfs_users())?;
                command.env("TMPDIR", folder).arg("mini");
                command.args(seaweedfs_flags(ports)).arg(flag("dir", &data)).arg(flag("s3.config", &users));
            }
            Self::Ministack => {
                command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", ports[0].to_string());
                command.env("TMPDIR", folder).env("SERVICES", "s3").env("SFTP_ENABLED", "0");
                command.env("S3_PERSIST", "1").env("S3_DATA_DIR", data);
            }
            Self::Azurite => {
                command.args(["--silent", "--disableTelemetry", "--blobHost", "127.0.0.1", "--blobPort"]);
                command.arg(ports[0].to_string()).arg("--location").arg(data);
            }
            Self::S3rver => {
                command.args(["--silent", "--allow-mismatched-signatures", "--address", "127.0.0.1", "--port"]);
                command.arg(ports[0].to_string()).args(["--configure-bucket", BUCKET, "--directory"]).arg(data);
            }
        }
        Ok(command)
    }

    /// Files that it leaves behind outside its folder.
    pub(crate) fn left_behind(self, ports: &[u16]) -> Vec<String> {
        if self != Self::SeaweedFs {
            return Vec::new();
        }
        let roles = ["s3", "s3-grpc", "filer", "filer-grpc", "master-grpc", "volume-grpc", "admin-grpc"];
        let socket = |port: &u16| roles.map(|role| format!("/tmp/seaweedfs-{role}-{port}.sock"));
        ports.iter().flat_map(socket).collect()
    }

    /// Whether it stores and serves. Its bucket is made if need be.
    pub(crate) fn is_ready(self, port: u16) -> bool {
        let (bucket, object) = (format!("/{BUCKET}"), format!("/{BUCKET}/ready"));
        let ask = |method: &str, target: &str| status(port, method, target, "", "").unwrap_or_default();
        if self == Self::Azurite {
            let make = format!("/{}/{BUCKET}?restype=container&{}", account::NAME, account::signed_query());
            return matches!(ask("PUT", &make), 201 | 409);
        }
        // Whether the bucket was there is told by what follows.
        ask("PUT", &bucket);
        ask("PUT", &object) == 200 && ask("GET", &object) == 200 && ask("DELETE", &object) == 204
    }

    /// The variables of the environment that clients take credentials from.
    #[must_use]
    pub fn credentials(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Azurite => {
                [("AZURE_STORAGE_ACCOUNT_NAME", account::NAME), ("AZURE_STORAGE_ACCOUNT_KEY", account::KEY)]
            }
            Self::S3rver => [("AWS_ACCESS_KEY_ID", "S3RVER"), ("AWS_SECRET_ACCESS_KEY", "S3RVER")],
            _ => [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)],
        }
    }
}

/// Signed requests are checked; those without a signature ask whether it is ready.
fn seaweedfs_users() -> String {
    format!(
        r#"{{"identities":[
            {{"name":"test","credentials":[{{"accessKey":"{ACCESS_KEY}","secretKey":"{SECRET_KEY}"}}],"actions":["Admin"]}},
            {{"name":"anonymous","actions":["Read:{BUCKET}","Write:{BUCKET}"]}}]}}"#
    )
}

fn seaweedfs_flags(ports: &[u16]) -> impl Iterator<Item = String> {
    let roles = ["s3", "filer", "master", "volume", "admin"];
    let of_roles = roles.into_iter().zip(ports.chunks(2));
    let of_roles = of_roles
        .flat_map(|(role, ports)| [format!("-{role}.port={}", ports[0]), format!("-{role}.port.grpc={}", ports[1])]);
    let fixed = [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ];
    fixed.into_iter().map(str::to_owned).chain([format!("-bucket={BUCKET}")]).chain(of_roles)
}

fn flag(name: &str, path: &Path) -> String {
    format!("-{name}={}", path.display())
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| format!("the servers are: {}", names()))
    }
}
