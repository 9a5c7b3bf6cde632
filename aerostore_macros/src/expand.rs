//! From a checked [`RowSpec`] to code.
//!
//! Shape       the user's struct becomes three private fields: the `#[repr(C)]` fixed part of a row image, the texts of
//!             variable strings, and the dirty mask. Types are asked through `Field`, so that aliases work, and errors
//!             about a type appear at the type.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::parse::{ColumnSpec, RowSpec};

/// A column with what its place among the others gives it.
struct Column<'a> {
    spec: &'a ColumnSpec,
    index: usize,
    /// Place of its text, for variable strings.
    text: Option<usize>,
}

pub(crate) fn row(row: &RowSpec) -> TokenStream {
    let columns = number(row);
    let layout = format_ident!("__{}Layout", row.ident.unraw());
    let (structs, assertions) = (structs(row, &columns, &layout), assertions(row, &columns, &layout));
    let (inherent, row_impl) = (inherent(row, &columns, &layout), row_impl(row, &columns, &layout));
    let std_impls = std_impls(row, &columns);
    quote! { #structs #assertions #inherent #row_impl #std_impls }
}

fn number(row: &RowSpec) -> Vec<Column<'_>> {
    let mut texts = 0;
    let column = |(index, spec): (usize, _)| {
        let spec: &ColumnSpec = spec;
        let text = spec.max.is_some().then_some(texts);
        texts += usize::from(spec.max.is_some());
        Column { spec, index, text }
    };
    row.columns.iter().enumerate().map(column).collect()
}

impl Column<'_> {
    fn ident(&self) -> &Ident {
        &self.spec.ident
    }

    fn constant(&self) -> Ident {
        Ident::new(&self.ident().unraw().to_string().to_uppercase(), self.ident().span())
    }

    fn setter(&self) -> Ident {
        format_ident!("set_{}", self.ident().unraw())
    }

    /// The field's type as a `Field`, with the span of the type.
    fn field(&self) -> TokenStream {
        let ty = &self.spec.ty;
        quote_spanned! { ty.span() => <#ty as ::aerostore_core::row::Field> }
    }

    /// What of the field lies in the fixed part. Its tokens all have the span of the type: were some the macro's own, the
    /// error about a foreign type would point at the attribute.
    fn stored(&self) -> TokenStream {
        let field = self.field();
        quote_spanned! { self.spec.ty.span() => #field::Stored }
    }

    /// What the getter returns.
    fn borrowed(&self) -> TokenStream {
        let field = self.field();
        quote_spanned! { self.spec.ty.span() => #field::Ref<'_> }
    }

    /// The field's type without null.
    fn base(&self) -> TokenStream {
        let field = self.field();
        quote_spanned! { self.spec.ty.span() => #field::Base }
    }

    /// The column type, for constant expressions.
    fn column_type(&self) -> TokenStream {
        let field = self.field();
        let (span, max) = match &self.spec.max {
            Some(max) => (max.span(), quote! { ::core::option::Option::Some(#max) }),
            None => (self.spec.ty.span(), quote! { ::core::option::Option::None }),
        };
        quote_spanned! { span => ::aerostore_core::row::generated::column_type(#field::TYPE, #max) }
    }

    /// The borrowed text of the field, for `Field::load`.
    fn text(&self) -> TokenStream {
        self.text.map_or_else(|| quote! { "" }, |place| quote! { &self.texts[#place] })
    }

    /// The default as a value of the field's type.
    fn default(&self) -> Option<TokenStream> {
        let (literal, base) = (self.spec.default.as_ref()?, self.base());
        let base = quote! { <#base as ::aerostore_core::row::Field>::own(#literal) };
        Some(if self.spec.optional().is_some() {
            quote! { ::core::option::Option::Some(#base) }
        } else {
            base
        })
    }
}

fn structs(row: &RowSpec, columns: &[Column<'_>], layout: &Ident) -> TokenStream {
    let RowSpec { ident, vis, attrs, .. } = row;
    let texts = columns.iter().filter(|column| column.text.is_some()).count();
    let fields = columns.iter().map(|column| {
        let (name, stored) = (column.ident(), column.stored());
        quote! { #name: #stored }
    });
    quote! {
        #[doc(hidden)]
        #[derive(Clone, Copy)]
        #[repr(C)]
        struct #layout {
            __nulls: ::aerostore_core::row::NullMask,
            #(#fields,)*
        }

        #(#attrs)*
        #[derive(Clone)]
        #vis struct #ident {
            layout: #layout,
            texts: [::std::string::String; #texts],
            dirty: ::aerostore_core::row::DirtyMask,
        }
    }
}

/// The proofs that the struct lies in memory as the row does in an image, each at the field it is about.
fn assertions(row: &RowSpec, columns: &[Column<'_>], layout: &Ident) -> TokenStream {
    let ident = &row.ident;
    let each = columns.iter().map(|column| {
        let (index, name, field, span) = (column.index, column.ident(), column.field(), column.spec.ty.span());
        let (optional, kind) = (column.spec.optional().is_some(), column.column_type());
        let key = column.spec.key.map(|_| quote_spanned! { span =>
            const _: () = ::aerostore_core::row::generated::check_key(#kind);
        });
        let default = column.spec.default.as_ref().and_then(|default| default_text(default, &kind));
        quote_spanned! { span =>
            const _: () = ::core::assert!(#field::NULLABLE == #optional, "write Option itself, not another name of it");
            const _: () = ::core::assert!(
                ::core::mem::offset_of!(#layout, #name)
                    == <#ident as ::aerostore_core::row::Row>::LAYOUT.offset(#index) as usize,
                "the field is not where the row image has it"
            );
            #key
            #default
        }
    });
    let bytes = quote! { <#ident as ::aerostore_core::row::Row>::LAYOUT.fixed_bytes() };
    let whole = quote_spanned! { ident.span() =>
        const _: () = ::core::assert!(
            ::core::mem::size_of::<#layout>() == #bytes as usize,
            "the struct is not as large as the row image"
        );
        const _: () = ::core::assert!(
            #bytes <= ::aerostore_core::row::MAX_IMAGE_BYTES,
            "the row is wider than a row can be (1 MiB)"
        );
    };
    quote! { #(#each)* #whole }
}

fn default_text(default: &syn::Expr, kind: &TokenStream) -> Option<TokenStream> {
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = default else { return None };
    Some(quote_spanned! { text.span() =>
        const _: () = ::aerostore_core::row::generated::check_default(#kind, #text);
    })
}

fn inherent(row: &RowSpec, columns: &[Column<'_>], layout: &Ident) -> TokenStream {
    let ident = &row.ident;
    let (new, accessors) = (new(row, columns, layout), columns.iter().map(accessors));
    quote! {
        #[allow(dead_code, clippy::all, clippy::pedantic)]
        impl #ident {
            #new
            #(#accessors)*
        }
    }
}

fn new(row: &RowSpec, columns: &[Column<'_>], layout: &Ident) -> TokenStream {
    let vis = &row.vis;
    let required: Vec<_> =
        columns.iter().filter(|c| c.spec.optional().is_none() && c.spec.default.is_none()).collect();
    let (arguments, types): (Vec<_>, Vec<_>) = required.iter().map(|c| (c.ident(), &c.spec.ty)).unzip();
    let setters = required.iter().map(|column| column.setter());
    let zeros = columns.iter().map(|column| {
        let (name, stored) = (column.ident(), column.stored());
        quote! { #name: <#stored as ::aerostore_core::row::Stored>::ZERO }
    });
    let defaults = columns.iter().filter_map(|column| {
        let (setter, default) = (column.setter(), column.default()?);
        Some(quote! { row.#setter(#default); })
    });
    let count = columns.len();
    quote! {
        /// A row of these values; other columns have their defaults or are null.
        #vis fn new(#(#arguments: #types),*) -> Self {
            let mut row = Self {
                layout: #layout { __nulls: ::aerostore_core::row::NullMask::first(#count), #(#zeros,)* },
                texts: ::core::default::Default::default(),
                dirty: ::aerostore_core::row::DirtyMask::EMPTY,
            };
            #(#defaults)*
            #(row.#setters(#arguments);)*
            row
        }
    }
}

fn accessors(column: &Column<'_>) -> TokenStream {
    let ColumnSpec { ident, vis, ty, attrs, name, .. } = column.spec;
    let (index, field, text) = (column.index, column.field(), column.text());
    let (stored, borrowed, base) = (column.stored(), column.borrowed(), column.base());
    let (constant, setter, name) = (column.constant(), column.setter(), &name.text);
    let get_doc = format!("The column `{name}`.");
    let get_doc = attrs.iter().all(|attr| !attr.path().is_ident("doc")).then(|| quote! { #[doc = #get_doc] });
    let (set_doc, const_doc) =
        (format!("Sets `{name}`, and marks it dirty."), format!("The column `{name}`."));
    let set_text = column.text.map(|place| quote! { self.texts[#place] = #field::into_text(value); });
    quote! {
        #[doc = #const_doc]
        #vis const #constant: ::aerostore_core::row::TypedColumn<Self, #base> =
            ::aerostore_core::row::TypedColumn::new(#index, #name);

        #(#attrs)*
        #get_doc
        #[must_use]
        #[inline]
        #vis fn #ident(&self) -> #borrowed {
            #field::load(self.layout.__nulls.contains(#index), &self.layout.#ident, #text)
        }

        #[doc = #set_doc]
        #[inline]
        #vis fn #setter(&mut self, value: #ty) {
            let stored = #field::store(&value);
            self.layout.__nulls.set(#index, stored.is_none());
            self.layout.#ident = stored.unwrap_or(<#stored as ::aerostore_core::row::Stored>::ZERO);
            self.dirty = self.dirty.with(#index);
            #set_text
        }
    }
}

fn row_impl(row: &RowSpec, columns: &[Column<'_>], layout: &Ident) -> TokenStream {
    let (ident, name) = (&row.ident, &row.name.text);
    let kinds = columns.iter().map(Column::column_type);
    let indexes: Vec<_> = columns.iter().map(|column| column.index).collect();
    let values: Vec<_> = columns
        .iter()
        .map(|column| {
            let (name, field) = (column.ident(), column.field());
            quote! { #field::to_value(self.#name()) }
        })
        .collect();
    let sets = columns.iter().map(|column| {
        let (index, ty, setter) = (column.index, &column.spec.ty, column.setter());
        quote! { self.#setter(::aerostore_core::row::generated::field_value::<Self, #ty>(#index, value)?) }
    });
    let (schema, decode) = (schema(row, columns), decode(columns, layout));
    quote! {
        #[allow(clippy::all, clippy::pedantic)]
        impl ::aerostore_core::row::Row for #ident {
            const NAME: &'static str = #name;
            const LAYOUT: ::aerostore_core::row::Layout = ::aerostore_core::row::Layout::of(&[#(#kinds),*]);

            #schema
            #decode

            fn encode(
                &self,
                image: &mut ::aerostore_core::row::RowImage,
            ) -> ::core::result::Result<(), ::aerostore_core::row::RowError> {
                let schema = <Self as ::aerostore_core::row::Row>::schema();
                image.reset(schema);
                #(image.set(schema, #indexes, #values)?;)*
                image.finish(schema)
            }

            fn value(&self, index: usize) -> ::aerostore_core::row::Value<'_> {
                match index {
                    #(#indexes => #values,)*
                    _ => ::aerostore_core::row::generated::no_such_column::<Self>(index),
                }
            }

            fn set_value(
                &mut self,
                index: usize,
                value: ::aerostore_core::row::Value<'_>,
            ) -> ::core::result::Result<(), ::aerostore_core::row::RowError> {
                match index {
                    #(#indexes => #sets,)*
                    _ => ::aerostore_core::row::generated::no_such_column::<Self>(index),
                }
                ::core::result::Result::Ok(())
            }

            #[inline]
            fn nulls(&self) -> ::aerostore_core::row::NullMask {
                self.layout.__nulls
            }

            #[inline]
            fn dirty(&self) -> ::aerostore_core::row::DirtyMask {
                self.dirty
            }

            #[inline]
            fn clear_dirty(&mut self) {
                self.dirty = ::aerostore_core::row::DirtyMask::EMPTY;
            }
        }
    }
}

/// The checks here and in the assertions are those of the builder, so that it cannot fail.
fn schema(row: &RowSpec, columns: &[Column<'_>]) -> TokenStream {
    let builders = columns.iter().map(column_definition);
    let key = columns.iter().find(|column| column.spec.key.is_some()).map(|column| &column.spec.name.text);
    let nulls = row.nulls_high.then(|| quote! { .nulls(::aerostore_core::row::NullRule::High) });
    quote! {
        fn schema() -> &'static ::std::sync::Arc<::aerostore_core::row::Schema> {
            static SCHEMA: ::std::sync::OnceLock<::std::sync::Arc<::aerostore_core::row::Schema>> =
                ::std::sync::OnceLock::new();
            SCHEMA.get_or_init(|| {
                let schema = ::aerostore_core::row::Schema::builder(<Self as ::aerostore_core::row::Row>::NAME)
                    #(.column(#builders))*
                    .key(#key)
                    #nulls
                    .build();
                ::std::sync::Arc::new(schema.expect("the definition was checked when it was compiled"))
            })
        }
    }
}

fn column_definition(column: &Column<'_>) -> TokenStream {
    let (name, kind) = (&column.spec.name.text, column.column_type());
    let aliases = column.spec.aliases.iter().map(|alias| &alias.text);
    let nullable = column.spec.optional().is_some().then(|| quote! { .nullable() });
    let unique = column.spec.unique.map(|_| quote! { .unique() });
    let index = column.spec.index.as_ref().map(|kind| {
        let kind = if kind == "hash" {
            quote! { Hash }
        } else {
            quote! { Ordered }
        };
        quote! { .index(::aerostore_core::row::IndexKind::#kind) }
    });
    let default = column.spec.default.as_ref().map(|literal| {
        let base = column.base();
        quote! { .default(<#base as ::aerostore_core::row::Field>::to_value(#literal)) }
    });
    quote! {
        ::aerostore_core::row::Column::new(#name, #kind) #(.alias(#aliases))* #nullable #unique #index #default
    }
}

fn decode(columns: &[Column<'_>], layout: &Ident) -> TokenStream {
    let fields = columns.iter().map(|column| {
        let (name, stored) = (column.ident(), column.stored());
        quote! {
            #name: <#stored as ::aerostore_core::row::Stored>::read(bytes, ::core::mem::offset_of!(#layout, #name))
        }
    });
    let texts = columns.iter().filter(|column| column.text.is_some()).map(|column| {
        let index = column.index;
        quote! { ::std::string::String::from(view.get(#index).as_str().unwrap_or_default()) }
    });
    quote! {
        fn decode(
            view: ::aerostore_core::row::RowView<'_>,
        ) -> ::core::result::Result<Self, ::aerostore_core::row::RowError> {
            ::aerostore_core::row::generated::check_view::<Self>(view)?;
            let bytes = &view.bytes()[..::core::mem::size_of::<#layout>()];
            ::core::result::Result::Ok(Self {
                layout: #layout { __nulls: view.nulls(), #(#fields,)* },
                texts: [#(#texts),*],
                dirty: ::aerostore_core::row::DirtyMask::EMPTY,
            })
        }
    }
}

/// Rows are equal when their values are, whatever is dirty.
fn std_impls(row: &RowSpec, columns: &[Column<'_>]) -> TokenStream {
    let (ident, name) = (&row.ident, row.ident.unraw().to_string());
    let count = columns.len();
    let fields = columns.iter().map(|column| {
        let getter = column.ident();
        let name = getter.unraw().to_string();
        quote! { .field(#name, &self.#getter()) }
    });
    quote! {
        impl ::core::fmt::Debug for #ident {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#name) #(#fields)* .finish()
            }
        }

        impl ::core::cmp::PartialEq for #ident {
            fn eq(&self, other: &Self) -> bool {
                (0..#count).all(|index| {
                    <Self as ::aerostore_core::row::Row>::value(self, index)
                        == <Self as ::aerostore_core::row::Row>::value(other, index)
                })
            }
        }
    }
}
