//! Functions that Athena has and DataFusion has not, or has otherwise.
//!
//! # Input
//! Columns of JSON text, lists and maps.
//! # Maps to
//! `json_extract_scalar`, `json_extract` and `element_at`, as Trino has them.
//! # Known gaps
//! Of JSON paths: members, also in brackets, and numbers of elements; no wildcards and no filters.
//! # Reference
//! <https://trino.io/docs/current/functions/json.html>, <https://trino.io/docs/current/functions/map.html>.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder, UInt32Array},
    compute::{cast, take},
    datatypes::{DataType, Field, FieldRef, Int64Type},
};
use datafusion::{
    common::{ScalarValue, cast::as_string_array, exec_err, plan_err},
    error::Result,
    logical_expr::{
        ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        Volatility,
    },
    prelude::SessionContext,
};
use serde_json::Value;

/// Adds the functions.
pub fn register(context: &SessionContext) {
    for is_scalar in [false, true] {
        context.register_udf(ScalarUDF::new_from_impl(JsonExtract {
            is_scalar,
            signature: Signature::string(2, Volatility::Immutable),
        }));
    }
    context.register_udf(ScalarUDF::new_from_impl(ElementAt {
        signature: Signature::any(2, Volatility::Immutable),
    }));
}

/// `json_extract(text, path)`: the value as JSON; `json_extract_scalar`: a text, number or boolean as
/// text. Null where there is none, or where the text is not JSON.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonExtract {
    is_scalar: bool,
    signature: Signature,
}

impl ScalarUDFImpl for JsonExtract {
    fn name(&self) -> &'static str {
        if self.is_scalar { "json_extract_scalar" } else { "json_extract" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text, path] = args.args.as_slice() else {
            return exec_err!("{} takes a text and a path", self.name());
        };
        let ColumnarValue::Scalar(path) = path else {
            return exec_err!("{}: the path must be a constant", self.name());
        };
        let Some(Some(path)) = path.try_as_str() else {
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)));
        };
        let steps = steps(path)?;
        let text = cast(&text.to_array(args.number_rows)?, &DataType::Utf8)?;
        let text = as_string_array(&text)?;
        let mut found = StringBuilder::new();
        for text in text {
            found.append_option(text.and_then(|text| self.extract(text, &steps)));
        }
        Ok(ColumnarValue::Array(Arc::new(found.finish())))
    }
}

impl JsonExtract {
    fn extract(&self, text: &str, steps: &[Step]) -> Option<String> {
        let value: Value = serde_json::from_str(text).ok()?;
        let found = steps.iter().try_fold(&value, |value, step| match step {
            Step::Member(name) => value.get(name),
            Step::Element(at) => value.get(at),
        })?;
        if !self.is_scalar {
            return Some(found.to_string());
        }
        match found {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(found.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

enum Step {
    Member(String),
    Element(usize),
}

/// `$.a["b.c"][0]` in its steps.
fn steps(path: &str) -> Result<Vec<Step>> {
    let wrong = || exec_err!("{path:?} is no JSON path such as $.userName or $.items[0].arn");
    let Some(mut rest) = path.strip_prefix('$') else { return wrong() };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            if name.is_empty() {
                return wrong();
            }
            steps.push(Step::Member(name.to_owned()));
            rest = after;
        } else if let Some(after) = rest.strip_prefix("[\"") {
            let Some((name, after)) = after.split_once("\"]") else { return wrong() };
            steps.push(Step::Member(name.to_owned()));
            rest = after;
        } else if let Some((number, after)) =
            rest.strip_prefix('[').and_then(|after| after.split_once(']'))
        {
            let Ok(number) = number.parse() else { return wrong() };
            steps.push(Step::Element(number));
            rest = after;
        } else {
            return wrong();
        }
    }
    Ok(steps)
}

/// `element_at(list, n)`, from 1, from the end if negative; `element_at(map, key)`. Null where there is
/// none. DataFusion's of that name gives a list of a map's value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ElementAt {
    signature: Signature,
}

impl ScalarUDFImpl for ElementAt {
    fn name(&self) -> &'static str {
        "element_at"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("element_at returns a field")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let kind = match args.arg_fields[0].data_type() {
            DataType::List(element) => element.data_type().clone(),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) => fields[1].data_type().clone(),
                _ => return plan_err!("element_at: a map without entries"),
            },
            other => return plan_err!("element_at takes a list or a map, not {other}"),
        };
        Ok(Arc::new(Field::new("element_at", kind, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [values, at] = args.args.as_slice() else {
            return exec_err!("element_at takes two arguments");
        };
        let values = values.to_array(args.number_rows)?;
        let at = at.to_array(args.number_rows)?;
        let found = match values.data_type() {
            DataType::List(_) => element(&values, &cast(&at, &DataType::Int64)?)?,
            _ => value(&values, &cast(&at, &DataType::Utf8)?)?,
        };
        Ok(ColumnarValue::Array(found))
    }
}

fn element(lists: &ArrayRef, at: &ArrayRef) -> Result<ArrayRef> {
    let lists = lists.as_list::<i32>();
    let at: &Int64Array = at.as_primitive::<Int64Type>();
    let rows = at.iter().enumerate().map(|(row, at)| {
        let at = at.filter(|_| lists.is_valid(row))?;
        let range = lists.value_offsets()[row]..lists.value_offsets()[row + 1];
        let index =
            if at > 0 { i64::from(range.start) + at - 1 } else { i64::from(range.end) + at };
        let index = i32::try_from(index).ok()?;
        (at != 0 && range.contains(&index)).then_some(index as u32)
    });
    Ok(take(lists.values(), &rows.collect::<UInt32Array>(), None)?)
}

fn value(maps: &ArrayRef, keys: &ArrayRef) -> Result<ArrayRef> {
    let (maps, keys) = (maps.as_map(), as_string_array(keys)?);
    let names: &StringArray = as_string_array(maps.keys())?;
    let rows = keys.iter().enumerate().map(|(row, key)| {
        let key = key.filter(|_| maps.is_valid(row))?;
        let mut range = maps.value_offsets()[row]..maps.value_offsets()[row + 1];
        range.find(|&at| names.value(at as usize) == key).map(|at| at as u32)
    });
    Ok(take(maps.values(), &rows.collect::<UInt32Array>(), None)?)
}
