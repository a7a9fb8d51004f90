//! Prints `docs/broken-stores.md`.

fn main() {
    print!("{}", conformance::broken::table());
}
