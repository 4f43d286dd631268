//! What the daemon has said yes to, and so must still know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use humantime::parse_rfc3339;
use serde_json::{Value, json};

/// What ends so close to now may be there or not.
const SLACK: Duration = Duration::from_millis(1500);

/// Something that an operator asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wish {
    pub(super) path: &'static str,
    pub(super) body: Value,
    /// What it is about; nothing for the mode.
    pub(super) prefix: Option<String>,
    /// How the audit names it.
    pub(super) verb: &'static str,
}

impl Wish {
    /// The arguments as the audit has them: what was not asked for is left out.
    fn arguments(&self) -> Value {
        self.body.clone()
    }
}

/// The end of something: between two moments, or never.
type End = Option<(SystemTime, SystemTime)>;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    allow: BTreeMap<String, End>,
    blocks: BTreeMap<String, Option<String>>,
    mode: Option<String>,
    /// Asked for, and whether it was done is not known.
    unsure: Option<Wish>,
    /// What was answered since the last look at the audit, with the result that the audit must have.
    answered: Vec<(&'static str, Value, &'static str)>,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) unanswered: u64,
}

impl Ledger {
    /// Takes note of a wish that was answered.
    pub(super) fn answered(&mut self, wish: &Wish, status: u16, answer: &Value, asked: SystemTime) {
        let result = match status {
            200 if answer["removed"].as_array().is_some_and(Vec::is_empty) => "not_found",
            200 => "done",
            _ => "refused",
        };
        self.answered.push((wish.verb, wish.arguments(), result));
        if status != 200 {
            self.refused += 1;
            return;
        }
        self.acknowledged += 1;
        let now = SystemTime::now();
        let prefix = wish.prefix.clone().unwrap_or_default();
        match wish.verb {
            "allow add" => {
                let lasts = wish.body["entries"][0]["for_s"].as_u64().map(Duration::from_secs);
                self.allow.insert(prefix.clone(), lasts.map(|lasts| (asked + lasts, now + lasts)));
                self.blocks.remove(&prefix);
            }
            "allow remove" => {
                self.allow.remove(&prefix);
            }
            "block add" => {
                self.blocks.insert(prefix.clone(), answer["entry"]["expires"].as_str().map(str::to_owned));
                self.allow.remove(&prefix); // It was over, or this would have been refused.
            }
            "block remove" => {
                self.blocks.remove(&prefix);
            }
            _ => self.mode = wish.body["mode"].as_str().map(str::to_owned),
        }
    }

    /// Takes note of a wish of which nobody knows whether it was carried out.
    pub(super) fn unanswered(&mut self, wish: Wish) {
        self.unanswered += 1;
        self.unsure = Some(wish);
    }

    /// Takes note of blocks that the policy made: whoever was told of them may count on them.
    pub(super) fn seen(&mut self, list: &Value) {
        for entry in entries(list).filter(|entry| entry["origin"] == "controller") {
            if let Some(source) = entry["source"].as_str() {
                self.blocks.insert(source.to_owned(), entry["expires"].as_str().map(str::to_owned));
            }
        }
    }

    /// Compares with what a new daemon says; returns what is wrong, and takes over what was not sure.
    pub(super) fn compare(&mut self, allow: &Value, blocks: &Value, mode: &Value, audit: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let now = SystemTime::now();
        let unsure = self.unsure.take();
        let doubtful: BTreeSet<String> = unsure.iter().filter_map(|wish| wish.prefix.clone()).collect();
        let found: BTreeMap<String, Option<String>> = entries(allow)
            .filter(|entry| entry["source"] == "operator")
            .filter_map(|entry| {
                Some((entry["prefix"].as_str()?.to_owned(), entry["expires"].as_str().map(str::to_owned)))
            })
            .collect();
        for (prefix, end) in self.allow.iter().filter(|(prefix, _)| !doubtful.contains(*prefix)) {
            match (found.get(prefix), end) {
                (None, Some((first, _))) if *first <= now + SLACK => {}
                (None, _) => wrong.push(format!("{prefix} is no longer allowed, until {end:?}")),
                (Some(expires), end) if !fits(expires.as_deref(), end.as_ref()) => {
                    wrong.push(format!("{prefix} is allowed until {expires:?} and not {end:?}"));
                }
                (Some(_), Some((_, last))) if *last + SLACK < now => {
                    wrong.push(format!("{prefix} is allowed for ever"))
                }
                (Some(_), _) => {}
            }
        }
        wrong.extend(unknown("allowed", found.keys(), &self.allow.keys().collect(), &doubtful));
        self.allow.retain(|prefix, _| found.contains_key(prefix));
        for prefix in doubtful.iter() {
            match found.get(prefix) {
                Some(expires) => {
                    let end = expires.as_deref().and_then(|text| parse_rfc3339(text).ok()).map(|end| (end, end));
                    self.allow.insert(prefix.clone(), end);
                }
                None => drop(self.allow.remove(prefix)),
            }
        }
        self.compare_blocks(blocks, &doubtful, now, &mut wrong);
        if let Some(expected) = &self.mode
            && mode["mode"] != *expected.as_str()
            && unsure.as_ref().is_none_or(|wish| wish.verb != "mode")
        {
            wrong.push(format!("the mode is {} and not {expected}", mode["mode"]));
        }
        self.mode = mode["mode"].as_str().map(str::to_owned);
        self.compare_audit(audit, unsure.as_ref(), &mut wrong);
        wrong
    }

    fn compare_blocks(&mut self, list: &Value, doubtful: &BTreeSet<String>, now: SystemTime, wrong: &mut Vec<String>) {
        let found: BTreeMap<String, (Option<String>, bool)> = entries(list)
            .filter_map(|entry| {
                let end = entry["expires"].as_str().map(str::to_owned);
                Some((entry["source"].as_str()?.to_owned(), (end, entry["origin"] == "controller")))
            })
            .collect();
        let over = |expires: Option<&str>, slack: i64| {
            let end = expires.and_then(|text| parse_rfc3339(text).ok());
            let now = if slack > 0 { now + SLACK } else { now - SLACK };
            end.is_some_and(|end| end <= now)
        };
        for (source, expires) in self.blocks.iter().filter(|(source, _)| !doubtful.contains(*source)) {
            match found.get(source) {
                None if over(expires.as_deref(), 1) => {}
                None => wrong.push(format!("{source} is no longer blocked, until {expires:?}")),
                Some((end, _)) if end != expires => {
                    wrong.push(format!("{source} is blocked until {end:?} and not {expires:?}"));
                }
                Some((end, _)) if over(end.as_deref(), -1) => wrong.push(format!("{source} is blocked for ever")),
                Some(_) => {}
            }
        }
        // The policy may have blocked somebody of whom nobody asked.
        let operators = found.iter().filter(|(_, (_, automatic))| !automatic).map(|(source, _)| source);
        wrong.extend(unknown("blocked", operators, &self.blocks.keys().collect(), doubtful));
        self.blocks = found.into_iter().map(|(source, (expires, _))| (source, expires)).collect();
    }

    /// Everything that was answered is in the audit, in order, and nothing else but what was not sure.
    fn compare_audit(&mut self, audit: &Value, unsure: Option<&Wish>, wrong: &mut Vec<String>) {
        let mut left = self.answered.drain(..).peekable();
        for entry in entries(audit) {
            let asked = given(&entry["arguments"]);
            let is = |verb: &str, arguments: &Value| entry["verb"] == *verb && asked == *arguments;
            match left.peek() {
                Some((verb, arguments, result)) if is(verb, arguments) => {
                    if entry["result"] != **result {
                        wrong.push(format!(
                            "the audit says {} of {verb} {arguments}, and {result} was answered",
                            entry["result"]
                        ));
                    }
                    left.next();
                }
                _ if unsure.is_some_and(|wish| is(wish.verb, &wish.arguments())) => {}
                _ => wrong.push(format!("the audit has what nobody asked for: {entry}")),
            }
        }
        wrong.extend(left.map(|(verb, arguments, _)| format!("the audit lacks {verb} {arguments}")));
    }

    /// The sources that are blocked, as the kernel should have them.
    pub(super) fn blocked(&self) -> BTreeSet<String> {
        self.blocks.keys().cloned().collect()
    }
}

/// What was given of a request: what may be left out is null in it.
fn given(arguments: &Value) -> Value {
    match arguments {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name.clone(), given(value))).collect()
        }
        Value::Array(items) => items.iter().map(given).collect(),
        other => other.clone(),
    }
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list["entries"].as_array().into_iter().flatten()
}

/// Whether an end is the one that was promised, to the half second that an answer takes.
fn fits(found: Option<&str>, promised: Option<&(SystemTime, SystemTime)>) -> bool {
    match (found.and_then(|text| parse_rfc3339(text).ok()), promised) {
        (None, None) => true,
        (Some(end), Some((first, last))) => (*first - SLACK..=*last + SLACK).contains(&end),
        _ => false,
    }
}

fn unknown<'f>(
    what: &str,
    found: impl Iterator<Item = &'f String>,
    known: &BTreeSet<&String>,
    doubtful: &BTreeSet<String>,
) -> Vec<String> {
    let strangers = found.filter(|prefix| !known.contains(prefix) && !doubtful.contains(*prefix));
    strangers.map(|prefix| format!("{prefix} is {what}, and nobody asked for that")).collect()
}

/// Adds to the allowlist, for so many seconds.
pub(super) fn allow_add(number: u64, prefix: String, for_s: Option<u64>) -> Wish {
    let mut entry = json!({"prefix": prefix, "comment": format!("wish {number}")});
    if let Some(for_s) = for_s {
        entry["for_s"] = json!(for_s);
    }
    Wish { path: "/v1/allow", body: json!({"entries": [entry]}), prefix: Some(prefix), verb: "allow add" }
}

/// Takes an entry off the allowlist.
pub(super) fn allow_remove(number: u64, prefix: String) -> Wish {
    let body = json!({"prefixes": [prefix, mark(number)]});
    Wish { path: "/v1/allow/remove", body, prefix: Some(prefix), verb: "allow remove" }
}

/// Blocks an address, for so many seconds.
pub(super) fn block_add(number: u64, prefix: String, for_s: Option<u64>, hard: bool) -> Wish {
    let mut body = json!({
        "prefix": prefix, "scope": "all", "hard": hard, "reason": format!("wish {number}"), "force": false, "logged_in_from": [],
    });
    if let Some(for_s) = for_s {
        body["for_s"] = json!(for_s);
    }
    Wish { path: "/v1/block", body, prefix: Some(prefix), verb: "block add" }
}

/// Lifts a block.
pub(super) fn block_remove(number: u64, prefix: String) -> Wish {
    let body = json!({"prefixes": [prefix, mark(number)]});
    Wish { path: "/v1/block/remove", body, prefix: Some(prefix), verb: "block remove" }
}

/// Switches the mode.
pub(super) fn mode(mode: &str) -> Wish {
    Wish { path: "/v1/mode", body: json!({"mode": mode}), prefix: None, verb: "mode" }
}

/// A prefix that is on no list, so that each wish is told from others in the audit.
fn mark(number: u64) -> String {
    Ipv6Addr::from(0x2001_0db8_ffff_0000_0000_0000_0000_0000 | u128::from(number)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Value {
        json!({"entries": []})
    }

    fn observe() -> Value {
        json!({"mode": "observe"})
    }

    fn recorded(wish: &Wish) -> Value {
        json!({"entries": [{"verb": wish.verb, "arguments": wish.body, "result": "done"}]})
    }

    #[test]
    fn what_was_acknowledged_and_is_gone_is_a_loss() {
        let mut ledger = Ledger::default();
        let wish = allow_add(1, "198.18.0.1".into(), Some(3600));
        ledger.answered(&wish, 200, &json!({}), SystemTime::now());
        let wrong = ledger.compare(&nothing(), &nothing(), &observe(), &nothing());
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains("no longer allowed") && wrong[1].contains("the audit lacks"), "{wrong:?}");
        let mut ledger = Ledger::default();
        ledger.answered(&wish, 200, &json!({}), SystemTime::now());
        let end = humantime::format_rfc3339_millis(SystemTime::now() + Duration::from_secs(3600)).to_string();
        let list = json!({"entries": [{"prefix": "198.18.0.1", "source": "operator", "expires": end}]});
        assert_eq!(ledger.compare(&list, &nothing(), &observe(), &recorded(&wish)), Vec::<String>::new());
        let list = json!({"entries": [{"prefix": "198.18.0.1", "source": "operator", "expires": null}]});
        assert_eq!(ledger.compare(&list, &nothing(), &observe(), &nothing()).len(), 1, "its end is another one");
    }

    #[test]
    fn what_was_not_answered_may_be_done_or_not() {
        let wish = block_add(1, "198.18.0.1".into(), None, false);
        let block = json!({"entries": [{"source": "198.18.0.1", "origin": "operator", "expires": null}]});
        for (list, audit) in [(&block, &recorded(&wish)), (&block, &nothing()), (&nothing(), &nothing())] {
            let mut ledger = Ledger::default();
            ledger.unanswered(wish.clone());
            assert_eq!(ledger.compare(&nothing(), list, &observe(), audit), Vec::<String>::new());
        }
        let mut ledger = Ledger::default();
        let wrong = ledger.compare(&nothing(), &block, &observe(), &recorded(&wish));
        assert_eq!(wrong.len(), 2, "nobody asked for it: {wrong:?}");
    }
}
