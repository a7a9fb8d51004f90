//! How long the checker takes for histories of 10,000 operations: `cargo run --release --example check_speed`.
use bytes::Bytes;
use conformance::history::{Action, Event, History, Limits, Operation, Outcome, Verdict, check};
use std::time::{Duration, Instant};
use store_api::Key;

struct Rng(u64);
impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}
enum St {
    Idle,
    Called(usize, Operation),
    Done(Outcome),
}
fn generate(
    seed: u64,
    ops: usize,
    clients: usize,
    keys: usize,
    values: u64,
    lost_permille: u64,
    flip: bool,
) -> History {
    let mut r = Rng(seed);
    let mut entries: Vec<Option<Bytes>> = vec![None; keys];
    let mut cl: Vec<(u64, St)> = (0..clients as u64).map(|p| (p, St::Idle)).collect();
    let mut next = clients as u64;
    let mut lost: Vec<(usize, Operation)> = vec![];
    let mut events = vec![];
    let mut count = 0;
    let names: Vec<Key> = (0..keys).map(|k| Key::new(format!("k{k}")).unwrap()).collect();
    let apply = |entries: &mut Vec<Option<Bytes>>, k: usize, op: &Operation| -> Outcome {
        let e = &mut entries[k];
        match op {
            Operation::Mem => Outcome::Mem(e.is_some()),
            Operation::Find => Outcome::Found(e.clone()),
            Operation::Set(v) => {
                *e = Some(v.clone());
                Outcome::Done
            }
            Operation::Remove | Operation::Clear => {
                *e = None;
                Outcome::Done
            }
            Operation::TestAndSet { test, set } => {
                if e == test {
                    *e = set.clone();
                    Outcome::Applied
                } else {
                    Outcome::Mismatch { current: Some(e.clone()) }
                }
            }
        }
    };
    let val = |r: &mut Rng| Bytes::from(r.below(values).to_string());
    loop {
        let i = r.below(clients as u64) as usize;
        let p = cl[i].0;
        let st = std::mem::replace(&mut cl[i].1, St::Idle);
        cl[i].1 = match st {
            St::Idle => {
                if count == ops {
                    if cl.iter().all(|c| matches!(c.1, St::Idle)) { break } else { continue }
                }
                count += 1;
                let k = r.below(keys as u64) as usize;
                let op = match r.below(10) {
                    0 => Operation::Mem,
                    1..=3 => Operation::Find,
                    4..=5 => Operation::Set(val(&mut r)),
                    6 if r.below(3) == 0 => Operation::Remove,
                    _ => {
                        let test = if r.below(2) == 0 { entries[k].clone() } else { Some(val(&mut r)) };
                        Operation::TestAndSet { test, set: Some(val(&mut r)) }
                    }
                };
                events
                    .push(Event { process: p, action: Action::Call { key: names[k].clone(), operation: op.clone() } });
                St::Called(k, op)
            }
            St::Called(k, op) => {
                if r.below(1000) < lost_permille {
                    match r.below(3) {
                        0 => {}
                        1 => {
                            apply(&mut entries, k, &op);
                        }
                        _ => lost.push((k, op)),
                    }
                    events.push(Event { process: p, action: Action::Unknown });
                    cl[i].0 = next;
                    next += 1;
                    St::Idle
                } else {
                    St::Done(apply(&mut entries, k, &op))
                }
            }
            St::Done(o) => {
                events.push(Event { process: p, action: Action::Return(o) });
                St::Idle
            }
        };
        if !lost.is_empty() && r.below(50) == 0 {
            let l = lost.swap_remove(r.below(lost.len() as u64) as usize);
            apply(&mut entries, l.0, &l.1);
        }
    }
    if flip {
        let n = events.len();
        let at = (n * 9 / 10..n).find(|&i| matches!(events[i].action, Action::Return(Outcome::Found(_)))).unwrap();
        if let Action::Return(Outcome::Found(v)) = &events[at].action.clone() {
            let mut w = v.clone();
            while w == *v {
                w = Some(val(&mut r));
            }
            events[at].action = Action::Return(Outcome::Found(w));
        }
    }
    History::try_from(events).unwrap()
}
fn main() {
    let budget: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(10);
    for (clients, keys, values) in
        [(8, 4, 3), (8, 1, 5), (16, 4, 5), (16, 2, 3), (16, 1, 5), (16, 1, 3), (32, 2, 5), (16, 2, 1000)]
    {
        for lost in [0, 5, 20, 50, 100] {
            for flip in [false, true] {
                let (mut worst, mut sum, mut tally) = (Duration::ZERO, Duration::ZERO, [0; 3]);
                let mut wit = Duration::ZERO;
                let mut size = 0;
                for seed in 0..5 {
                    let h = generate(seed, 10_000, clients, keys, values, lost, flip);
                    let t = Instant::now();
                    let v = check(&h, Limits::default().time(Duration::from_secs(budget)));
                    let e = t.elapsed();
                    worst = worst.max(e);
                    sum += e;
                    match v {
                        Verdict::Linearizable => tally[0] += 1,
                        Verdict::Inconclusive(_) => tally[2] += 1,
                        Verdict::NotLinearizable(x) => {
                            tally[1] += 1;
                            let t = Instant::now();
                            size = size.max(x.witness(Limits::default()).bars.len());
                            wit = wit.max(t.elapsed());
                        }
                    }
                }
                println!(
                    "clients {clients} keys {keys} values {values} lost {lost} flip {flip}: lin {} not {} inc {}  mean {:?} worst {:?} witness {:?} bars {}",
                    tally[0],
                    tally[1],
                    tally[2],
                    sum / 5,
                    worst,
                    wit,
                    size
                );
            }
        }
    }
}
