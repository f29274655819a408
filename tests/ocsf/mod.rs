//! Checks events against OCSF 1.1.0.
//!
//! The rules and the error names are those of the official server's validator (ocsf/ocsf-server,
//! `validator2.ex`), over `tests/ocsf-1.1.0.json`, a trimmed copy of the official compiled schema.
//! An error is its name and the path it stands at: `attribute_required_missing: src_endpoint`.
//! There are no warnings. Stricter than the official validator:
//!
//! * `empty_value`: `null`, `{}` and `[]` anywhere, and `""` outside of `unmapped`.
//! * `attribute_enum_sibling_incorrect` is an error, except where the id is 99 and at
//!   `user.type`, which keeps the raw text.
//! * `ip_t` is a real address; the schema's pattern takes any character for the dots.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value};

/// Five classes of OCSF 1.1.0 (2004, 3001, 3002, 4001, 6003) with their objects and types.
pub struct Schema(Value);

impl Schema {
    /// Reads the trimmed schema that is compiled in.
    pub fn load() -> Self {
        Self(serde_json::from_str(include_str!("../ocsf-1.1.0.json")).expect("schema is JSON"))
    }

    /// All errors of an event, as `name: path`; list members have their number: `resources[0].uid`.
    pub fn validate(&self, event: &Value) -> Vec<String> {
        let profiles = list(&event["metadata"]["profiles"]);
        let mut check = Check { schema: self, profiles, errors: Vec::new() };
        check.event(event);
        check.empty(event, "");
        check.errors
    }

    /// Type (`string_t`, ..., `object`) of a dotted path, and whether it is a list; `None` if the
    /// class has no such attribute under the profiles `cloud`, `datetime` and `security_control`.
    pub fn attribute(&self, class_uid: i64, path: &str) -> Option<(String, bool)> {
        let profiles = ["cloud", "datetime", "security_control"].map(Value::from);
        let attribute = self.resolve(&class_uid.into(), path, &profiles)?;
        let kind = text(attribute, "type").replace("object_t", "object");
        Some((kind, is_array(attribute)))
    }

    fn class(&self, uid: &Value) -> Option<&Value> {
        let mut classes = map(&self.0["classes"]).values();
        classes.find(|class| class["uid"] == *uid)
    }

    /// The object that an attribute holds, if it holds one.
    fn object(&self, attribute: &Value) -> &Value {
        &self.0["objects"][attribute["object_type"].as_str().unwrap_or_default()]
    }

    /// The attribute at a dotted path. Lists may have an index, in which dots do not count.
    fn resolve(&self, class_uid: &Value, path: &str, profiles: &[Value]) -> Option<&Value> {
        let mut in_index = false;
        let parts = path.split(|c| {
            in_index = (in_index || c == '[') && c != ']';
            c == '.' && !in_index
        });
        let mut item = self.class(class_uid)?;
        let mut attribute = None;
        for part in parts {
            let index = part.strip_suffix(']').and_then(|part| part.split_once('['));
            let found = item["attributes"].get(index.map_or(part, |(name, _)| name))?;
            if !active(found, profiles) || (index.is_some() && !is_array(found)) {
                return None;
            }
            item = self.object(found);
            attribute = Some(found);
        }
        attribute
    }
}

struct Check<'a> {
    schema: &'a Schema,
    profiles: &'a [Value],
    errors: Vec<String>,
}

impl<'a> Check<'a> {
    fn report(&mut self, error: &str, path: &str) {
        self.errors.push(format!("{error}: {path}"));
    }

    fn event(&mut self, event: &'a Value) {
        let Some(members) = event.as_object() else {
            return self.report("attribute_wrong_type", "$");
        };
        let (schema, uid) = (self.schema, &event["class_uid"]);
        if uid.is_null() {
            return self.report("class_uid_missing", "class_uid");
        }
        let Some(class) = schema.class(uid) else {
            return self.report("class_uid_unknown", "class_uid");
        };
        for (i, profile) in self.profiles.iter().enumerate() {
            let path = format!("metadata.profiles[{i}]");
            if !list(&schema.0["profiles"]).contains(profile) {
                self.report("profile_unknown", &path);
            } else if !list(&class["profiles"]).contains(profile) {
                self.report("profile_not_in_class", &path);
            }
        }
        self.item(members, class, "");

        if !self.version_fits(&event["metadata"]["version"]) {
            self.report("version_mismatch", "metadata.version");
        }
        if let Some(activity) = event["activity_id"].as_i64()
            && let Some(found) = event["type_uid"].as_i64()
            && class["uid"].as_i64().map(|uid| uid * 100) != found.checked_sub(activity)
        {
            self.report("type_uid_incorrect", "type_uid");
        }
        if event["category_uid"].is_i64() && event["category_uid"] != class["category_uid"] {
            self.report("category_uid_incorrect", "category_uid");
        }
        for (observable, path) in each(&event["observables"], "observables") {
            if let Some(name) = observable["name"].as_str()
                && schema.resolve(uid, name, self.profiles).is_none()
            {
                self.report("observable_name_invalid_reference", &join(&path, "name"));
            }
        }
    }

    /// Earlier versions are fine; later ones, prereleases and 0.x are not.
    fn version_fits(&self, found: &Value) -> bool {
        let (own, found) = (&self.schema.0["version"], found.as_str());
        let fits = |v: [u64; 3]| v[0] > 0 && Some(v) <= own.as_str().and_then(version);
        found.is_none_or(|found| found == own || version(found).is_some_and(fits))
    }

    /// Checks the members of an object against a class or an object of the schema.
    fn item(&mut self, members: &Map<String, Value>, item: &'a Value, path: &str) {
        let attributes = map(&item["attributes"]);
        for (name, value) in members {
            let at = join(path, name);
            match attributes.get(name) {
                Some(attribute) if active(attribute, self.profiles) => {
                    self.member(value, attribute, &at);
                    if let Some(sibling) = attribute["sibling"].as_str()
                        && let Some(caption) = attribute["enum"].get(enum_key(value))
                        && let Some(found) = members.get(sibling)
                        && !(found.is_null() || found == caption || *value == 99)
                        && !(path.ends_with("user") && sibling == "type")
                    {
                        self.report("attribute_enum_sibling_incorrect", &join(path, sibling));
                    }
                }
                Some(_) => self.report("attribute_wrong_profile", &at),
                None if attributes.is_empty() => {} // open, as `unmapped` is
                None => self.report("attribute_unknown", &at),
            }
        }
        let absent = |name: &str| members.get(name).is_none_or(Value::is_null);
        for (name, attribute) in attributes {
            let required = attribute["requirement"] == "required";
            if required && absent(name) && active(attribute, self.profiles) {
                self.report("attribute_required_missing", &join(path, name));
            }
        }
        for (constraint, names) in item["constraints"].as_object().into_iter().flatten() {
            let names = list(names).iter().filter_map(Value::as_str);
            let count = names.filter(|name| !absent(name)).count();
            if count == 0 || (constraint == "just_one" && count > 1) {
                let name = text(item, "name");
                let at = if path.is_empty() { name } else { path };
                self.report("constraint_failed", at);
            }
        }
    }

    fn member(&mut self, value: &Value, attribute: &'a Value, path: &str) {
        match value {
            Value::Null => {}
            Value::Array(_) if is_array(attribute) => {
                for (member, at) in each(value, path) {
                    self.value(member, attribute, &at);
                }
            }
            _ if is_array(attribute) => return self.report("attribute_wrong_type", path),
            _ => self.value(value, attribute, path),
        }
        if let Some(captions) = attribute["enum"].as_object() {
            for (id, at) in each(value, path) {
                if !captions.contains_key(&enum_key(id)) {
                    self.report("attribute_enum_value_unknown", &at);
                }
            }
        }
    }

    fn value(&mut self, value: &Value, attribute: &'a Value, path: &str) {
        let kind = text(attribute, "type");
        let types = &self.schema.0["types"];
        let definition = &types[kind];
        let primitive = definition["type"].as_str().unwrap_or(kind);
        let fits = match primitive {
            "object_t" => value.is_object(),
            "string_t" => value.is_string(),
            "boolean_t" => value.is_boolean(),
            "integer_t" => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            "long_t" => value.as_i64().is_some(),
            "float_t" => value.is_number(),
            "json_t" => true,
            other => panic!("{path}: the schema has an unknown type {other}"),
        };
        if !fits {
            return self.report("attribute_wrong_type", path);
        }
        let low = definition["range"][0].as_i64();
        let high = definition["range"][1].as_i64().or(Some(i64::MAX));
        match value {
            Value::Object(members) if kind == "object_t" => {
                self.item(members, self.schema.object(attribute), path);
            }
            Value::String(text) => {
                if !definition["regex"].is_null() && !matches(kind, text) {
                    self.report("attribute_value_regex_not_matched", path);
                }
                let max_len = |name: &str| types[name]["max_len"].as_u64();
                let max_len = max_len(kind).or(max_len(primitive));
                if max_len.is_some_and(|max| text.chars().count() as u64 > max) {
                    self.report("attribute_value_exceeds_max_len", path);
                }
            }
            Value::Number(number) if !(low..=high).contains(&number.as_i64()) => {
                self.report("attribute_value_exceeds_range", path);
            }
            _ => {}
        }
    }

    fn empty(&mut self, value: &Value, path: &str) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, member) in members {
                    self.empty(member, &join(path, name));
                }
            }
            Value::Array(values) if !values.is_empty() => {
                for (member, at) in each(value, path) {
                    self.empty(member, &at);
                }
            }
            Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) if !text.is_empty() || path.starts_with("unmapped.") => {}
            _ => self.report("empty_value", path),
        }
    }
}

fn map(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object of the schema")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("a text of the schema")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The members of a list with their paths, or else the value itself.
fn each<'a>(value: &'a Value, path: &str) -> Vec<(&'a Value, String)> {
    let at = |(i, member)| (member, format!("{path}[{i}]"));
    match value {
        Value::Array(members) => members.iter().enumerate().map(at).collect(),
        _ => vec![(value, path.to_owned())],
    }
}

fn is_array(attribute: &Value) -> bool {
    attribute["is_array"] == true
}

/// Whether an attribute exists under these profiles.
fn active(attribute: &Value, profiles: &[Value]) -> bool {
    let wanted = list(&attribute["profiles"]);
    wanted.is_empty() || wanted.iter().any(|w| profiles.contains(w))
}

fn join(path: &str, name: &str) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    format!("{path}{dot}{name}")
}

fn enum_key(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// Major, minor, patch; `None` for a prerelease and for anything else.
fn version(text: &str) -> Option<[u64; 3]> {
    let parts: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
    parts?.try_into().ok().filter(|_| !text.contains('+'))
}

/// Whether a text is not empty and every byte is allowed.
fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(allowed)
}

/// Whether a text has a shape: `d` is a digit, `x` a hexadecimal digit, the rest stands for itself.
fn shaped(text: &[u8], shape: &str) -> bool {
    let fits = |(byte, wanted): (&u8, u8)| match wanted {
        b'd' => byte.is_ascii_digit(),
        b'x' => byte.is_ascii_hexdigit(),
        _ => *byte == wanted,
    };
    text.len() == shape.len() && text.iter().zip(shape.bytes()).all(fits)
}

/// Whether a text is of a type that has a pattern in the schema.
fn matches(kind: &str, text: &str) -> bool {
    let uuid = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let dotted = |b: u8| word(b) || b == b'.';
    let label = |l: &str| all(l, word) && !l.starts_with('-') && !l.ends_with('-');
    match kind {
        "datetime_t" => is_datetime(text),
        "email_t" => {
            let (local, domain) = text.split_once('@').unwrap_or_default();
            let (host, rest) = domain.split_once('.').unwrap_or_default();
            all(local, |b| dotted(b) || b"_+".contains(&b)) && all(host, word) && all(rest, dotted)
        }
        "hostname_t" => text.split('.').all(label),
        "ip_t" => {
            let text = text.trim();
            let (v6, zone) = text.split_once('%').unwrap_or((text, "zone"));
            text.parse::<Ipv4Addr>().is_ok() || (v6.parse::<Ipv6Addr>().is_ok() && !zone.is_empty())
        }
        "mac_t" => shaped(text.replace('-', ":").as_bytes(), "xx:xx:xx:xx:xx:xx"),
        "uuid_t" => text.as_bytes().windows(36).any(|w| shaped(w, uuid)),
        _ => panic!("no check for the pattern of {kind}"),
    }
}

fn is_datetime(text: &str) -> bool {
    let digit = |c: char| c.is_ascii_digit();
    let (start, rest) = text.split_at_checked(19).unwrap_or_default();
    let fraction = rest.strip_prefix('.').filter(|f| f.starts_with(digit));
    let zone = fraction.map_or(rest, |f| f.trim_start_matches(digit));
    let offset = zone.strip_prefix(['+', '-']).unwrap_or_default();
    shaped(start.as_bytes(), "dddd-dd-ddTdd:dd:dd")
        && (matches!(zone, "" | "Z") || shaped(offset.as_bytes(), "dd:dd"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({
            "activity_id": 6, "activity_name": "Traffic", "category_uid": 4, "class_uid": 4001,
            "cloud": {"provider": "AWS"}, "dst_endpoint": {"ip": "2001:db8::1", "port": 443},
            "metadata": {
                "product": {"name": "Amazon VPC", "vendor_name": "AWS"},
                "profiles": ["cloud", "datetime", "host"], "version": "1.1.0"
            },
            "observables": [{"name": "src_endpoint.ip", "type_id": 2}],
            "severity_id": 1, "severity": "Informational",
            "src_endpoint": {"hostname": "a-1.example.com", "ip": "10.0.0.5"},
            "time": 1_714_521_600_000_i64, "time_dt": "2024-05-01T00:00:00.000Z",
            "type_uid": 400_106, "unmapped": {"boundary": ""}
        })
    }

    fn errors_with(pointer: &str, value: Value) -> Vec<String> {
        let mut event = event();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        event.pointer_mut(parent).expect("a parent")[name] = value;
        Schema::load().validate(&event)
    }

    #[test]
    fn valid_event_has_no_errors() {
        assert_eq!(errors_with("/message", json!("some text")), [""; 0]);
        assert_eq!(errors_with("/metadata/version", json!("1.0.0")), [""; 0]);
    }

    /// Member to set, its value, the error that follows.
    const BROKEN: &str = r#"
        /class_uid | null | class_uid_missing: class_uid
        /class_uid | 4002 | class_uid_unknown: class_uid
        /class_uid | 6003 | profile_not_in_class: metadata.profiles[2]
        /metadata/profiles | ["linux"] | profile_unknown: metadata.profiles[0]
        /metadata/profiles | ["cloud"] | attribute_wrong_profile: time_dt
        /metadata/version | "1.2.0" | version_mismatch: metadata.version
        /type_uid | 400105 | type_uid_incorrect: type_uid
        /category_uid | 6 | category_uid_incorrect: category_uid
        /dst_endpoint | null | attribute_required_missing: dst_endpoint
        /dst_endpoint | {"port": 443} | constraint_failed: dst_endpoint
        /src_endpoint | "10.0.0.5" | attribute_wrong_type: src_endpoint
        /src_endpoint/colour | "red" | attribute_unknown: src_endpoint.colour
        /dst_endpoint/port | "443" | attribute_wrong_type: dst_endpoint.port
        /dst_endpoint/port | 65536 | attribute_value_exceeds_range: dst_endpoint.port
        /dst_endpoint/ip | "1.2.3" | attribute_value_regex_not_matched: dst_endpoint.ip
        /time_dt | "2024-05-01" | attribute_value_regex_not_matched: time_dt
        /message | "" | empty_value: message
        /unmapped | {"a": [null]} | empty_value: unmapped.a[0]
        /severity_id | 7 | attribute_enum_value_unknown: severity_id
        /severity | "INFO" | attribute_enum_sibling_incorrect: severity
        /observables/0/name | "src_endpoint[0].ip" | observable_name_invalid_reference: observables[0].name
    "#;

    #[test]
    fn each_error_is_reported() {
        for case in BROKEN.trim().lines() {
            let columns: Vec<_> = case.trim().split(" | ").collect();
            let value = serde_json::from_str(columns[1]).expect("JSON");
            let errors = errors_with(columns[0], value);
            assert!(errors.iter().any(|e| e == columns[2]), "{case}: {errors:?}");
        }
        let errors = errors_with("/message", json!("\u{e9}".repeat(65_536)));
        assert_eq!(errors, ["attribute_value_exceeds_max_len: message"]);
    }

    #[test]
    fn every_pattern_of_the_schema_has_a_check() {
        for (name, definition) in map(&Schema::load().0["types"]) {
            assert!(definition["regex"].is_null() || !matches(name, ""));
        }
    }

    #[test]
    fn paths_resolve_to_types() {
        let schema = Schema::load();
        let is = |uid, path, kind: &str, is_array| {
            let found = schema.attribute(uid, path);
            assert_eq!(found, Some((kind.to_owned(), is_array)), "{path}");
        };
        is(4001, "src_endpoint.ip", "ip_t", false);
        is(6003, "resources", "object", true);
        is(6003, "resources.owner.account.uid", "string_t", false);
        assert_eq!(schema.attribute(6003, "action_id"), None);
        assert_eq!(schema.attribute(6003, "api.request.data.bucket"), None);
    }
}
