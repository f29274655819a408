//! Rows of files that an earlier version wrote, and how long rows are.
//!
//! # Input
//! Arrow batches.
//! # Maps to
//! Batches with all columns that the class has today; bytes of text of each row.
//! # Known gaps
//! None.
//! # Reference
//! Design section 6: the schema only grows.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StructArray, new_null_array},
    compute::cast,
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
};

/// The batch with the columns of `schema`; what it lacks is null.
pub fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.schema().fields() == schema.fields() {
        return batch.clone().with_schema(Arc::clone(schema));
    }
    let whole: ArrayRef = Arc::new(StructArray::from(batch.clone()));
    let fitted = fit_array(&whole, &DataType::Struct(schema.fields().clone()))?;
    RecordBatch::from(fitted.as_struct()).with_schema(Arc::clone(schema))
}

fn fit_array(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    Ok(match (array.data_type(), to) {
        (from, to) if from == to => Arc::clone(array),
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let from = array.as_struct();
            let column =
                |field: &Arc<arrow::datatypes::Field>| match from.column_by_name(field.name()) {
                    Some(column) => fit_array(column, field.data_type()),
                    None => Ok(new_null_array(field.data_type(), array.len())),
                };
            let columns = fields.iter().map(column).collect::<Result<_, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, from.nulls().cloned())?)
        }
        (DataType::List(_), DataType::List(field)) => {
            let from = array.as_list::<i32>();
            let values = fit_array(from.values(), field.data_type())?;
            let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
            Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, nulls)?)
        }
        (_, to) => cast(array, to)?,
    })
}

/// Bytes of text of each row.
pub fn bytes(batch: &RecordBatch) -> Vec<usize> {
    let mut bytes = vec![0; batch.num_rows()];
    for column in batch.columns() {
        add_bytes(column, &mut bytes);
    }
    bytes
}

fn add_bytes(array: &ArrayRef, bytes: &mut [usize]) {
    let mut add_nested = |offsets: &[i32], values: &ArrayRef| {
        let mut nested = vec![0; values.len()];
        add_bytes(values, &mut nested);
        for (row, ends) in bytes.iter_mut().zip(offsets.windows(2)) {
            *row += nested[ends[0] as usize..ends[1] as usize].iter().sum::<usize>();
        }
    };
    match array.data_type() {
        DataType::Struct(_) => {
            for column in array.as_struct().columns() {
                add_bytes(column, bytes);
            }
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            add_nested(list.offsets(), list.values());
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            add_nested(map.offsets(), &entries);
        }
        DataType::Utf8 => {
            let ends = array.as_string::<i32>().offsets().windows(2);
            for (row, ends) in bytes.iter_mut().zip(ends) {
                *row += (ends[1] - ends[0]) as usize;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Fields, Schema};
    use parsers::ocsf::CLASSES;

    use super::*;

    #[test]
    fn what_an_older_file_lacks_is_null() {
        for class in CLASSES {
            let account = Field::new("uid", DataType::Utf8, true);
            let region = Field::new("region", DataType::Utf8, true);
            let fields = Fields::from(vec![region, account.clone()]);
            let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
            let cloud = StructArray::new(fields.clone(), vec![Arc::clone(&texts), texts], None);
            let schema = Schema::new(vec![
                Field::new("time", DataType::Int64, true),
                Field::new("cloud", DataType::Struct(fields), true),
            ]);
            let time: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
            let old = RecordBatch::try_new(Arc::new(schema), vec![time, Arc::new(cloud)]).unwrap();
            let new = fit(&old, &class.schema()).unwrap();
            assert_eq!(new.schema(), class.schema());
            assert_eq!(new.num_rows(), 2);
            assert_eq!(bytes(&new), [1, 1]);
            assert_eq!(new.column_by_name("metadata").unwrap().null_count(), 2);
        }
    }
}
