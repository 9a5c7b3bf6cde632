//! From tokens to what they say: a [`RowSpec`]. Whether it makes sense is for `check`.

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, Field, Fields, GenericArgument, Ident, ItemStruct, LitInt, LitStr, PathArguments,
    PathSegment, Result, Type, Visibility,
};

/// A row type as written.
pub(crate) struct RowSpec {
    pub(crate) ident: Ident,
    pub(crate) vis: Visibility,
    /// What is passed on to the struct: documentation and lint levels.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) name: Name,
    pub(crate) nulls_high: bool,
    pub(crate) columns: Vec<ColumnSpec>,
}

/// A field as written.
pub(crate) struct ColumnSpec {
    pub(crate) ident: Ident,
    pub(crate) vis: Visibility,
    pub(crate) ty: Type,
    /// What is passed on to the getter.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) name: Name,
    pub(crate) aliases: Vec<Name>,
    pub(crate) key: Option<Span>,
    pub(crate) unique: Option<Span>,
    pub(crate) index: Option<Ident>,
    pub(crate) max: Option<LitInt>,
    pub(crate) default: Option<Expr>,
}

/// A table's or column's name, and where it is written.
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl From<&Ident> for Name {
    fn from(ident: &Ident) -> Self {
        Self { text: ident.unraw().to_string(), span: ident.span() }
    }
}

impl From<LitStr> for Name {
    fn from(literal: LitStr) -> Self {
        Self { text: literal.value(), span: literal.span() }
    }
}

impl ColumnSpec {
    /// The type, if it is written as an `Option`, of what it may hold; that it is the real one is asserted in the
    /// expansion.
    pub(crate) fn optional(&self) -> Option<&Type> {
        let segment = last_segment(&self.ty).filter(|segment| segment.ident == "Option")?;
        let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
        match arguments.args.first() {
            Some(GenericArgument::Type(ty)) => Some(ty),
            _ => None,
        }
    }

    /// The type without `Option`.
    pub(crate) fn base(&self) -> &Type {
        self.optional().unwrap_or(&self.ty)
    }
}

/// The last part of a type that is a path, such as `Option<f64>` of `std::option::Option<f64>`; of no other type.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        Type::Group(group) => last_segment(&group.elem),
        Type::Paren(paren) => last_segment(&paren.elem),
        _ => None,
    }
}

/// Collects errors, so that all are shown at once.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.add(Error::new(span, message));
    }

    pub(crate) fn into_result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

pub(crate) fn row(arguments: TokenStream, item: TokenStream) -> Result<RowSpec> {
    let item: ItemStruct = syn::parse2(item).map_err(|error| {
        Error::new(error.span(), format!("speedtable is for structs with named fields: {error}"))
    })?;
    let mut errors = Errors::default();
    let mut row = RowSpec {
        name: Name::from(&item.ident),
        ident: item.ident,
        vis: item.vis,
        attrs: Vec::new(),
        nulls_high: false,
        columns: Vec::new(),
    };
    let read = syn::meta::parser(|meta| row_argument(&meta, &mut row)).parse2(arguments);
    if let Err(error) = read {
        errors.add(error);
    }
    if !item.generics.params.is_empty() {
        errors.at(item.generics.span(), "a table has one row type: generics are not possible");
    }
    for attr in item.attrs {
        if attr.path().is_ident("derive") {
            errors.at(
                attr.span(),
                "speedtable itself implements Clone, Debug and PartialEq; a row derives nothing else",
            );
        } else if attr.path().is_ident("repr") {
            errors.at(attr.span(), "the layout is given by the table: no repr is possible");
        } else {
            row.attrs.push(attr);
        }
    }
    match item.fields {
        Fields::Named(fields) => {
            for field in fields.named {
                match column(field, &row.vis, &mut errors) {
                    Ok(column) => row.columns.push(column),
                    Err(error) => errors.add(error),
                }
            }
        }
        fields => errors.at(fields.span(), "columns have names: use named fields"),
    }
    errors.into_result().map(|()| row)
}

fn row_argument(meta: &ParseNestedMeta<'_>, row: &mut RowSpec) -> Result<()> {
    if meta.path.is_ident("name") {
        row.name = meta.value()?.parse::<LitStr>()?.into();
        return Ok(());
    }
    if meta.path.is_ident("nulls") {
        let rule: LitStr = meta.value()?.parse()?;
        row.nulls_high = match rule.value().as_str() {
            "high" => true,
            "unknown" => false,
            _ => return Err(Error::new(rule.span(), "nulls must be \"unknown\" or \"high\"")),
        };
        return Ok(());
    }
    Err(meta.error("unknown argument: must be name or nulls"))
}

fn column(field: Field, row_vis: &Visibility, errors: &mut Errors) -> Result<ColumnSpec> {
    let ident = field.ident.ok_or_else(|| Error::new(field.ty.span(), "a column has a name"))?;
    let vis = if matches!(field.vis, Visibility::Inherited) { row_vis.clone() } else { field.vis };
    let mut column = ColumnSpec {
        name: Name::from(&ident),
        ident,
        vis,
        ty: field.ty,
        attrs: Vec::new(),
        aliases: Vec::new(),
        key: None,
        unique: None,
        index: None,
        max: None,
        default: None,
    };
    for attr in field.attrs {
        if attr.path().is_ident("column") {
            if let Err(error) = attr.parse_nested_meta(|meta| column_argument(&meta, &mut column)) {
                errors.add(error);
            }
        } else if ["doc", "allow", "expect", "deprecated"].iter().any(|name| attr.path().is_ident(name)) {
            column.attrs.push(attr);
        } else {
            errors.at(attr.span(), "a column takes #[column(...)] and documentation only");
        }
    }
    Ok(column)
}

fn column_argument(meta: &ParseNestedMeta<'_>, column: &mut ColumnSpec) -> Result<()> {
    let Some(argument) = meta.path.get_ident() else {
        return Err(meta.error("unknown argument"));
    };
    let twice = || Error::new(argument.span(), format!("{argument} is there twice"));
    match argument.to_string().as_str() {
        "key" if column.key.is_some() => return Err(twice()),
        "key" => column.key = Some(argument.span()),
        "unique" if column.unique.is_some() => return Err(twice()),
        "unique" => column.unique = Some(argument.span()),
        "hash" | "ordered" if column.index.is_some() => {
            return Err(Error::new(argument.span(), "a column has one index: hash or ordered"));
        }
        "hash" | "ordered" => column.index = Some(argument.clone()),
        "alias" => column.aliases.push(meta.value()?.parse::<LitStr>()?.into()),
        "name" => column.name = meta.value()?.parse::<LitStr>()?.into(),
        "max" if column.max.is_some() => return Err(twice()),
        "max" => column.max = Some(meta.value()?.parse()?),
        "default" if column.default.is_some() => return Err(twice()),
        "default" => column.default = Some(meta.value()?.parse()?),
        _ => {
            let known = "must be key, alias, name, hash, ordered, unique, max or default";
            return Err(Error::new(argument.span(), format!("unknown argument \"{argument}\": {known}")));
        }
    }
    Ok(())
}
