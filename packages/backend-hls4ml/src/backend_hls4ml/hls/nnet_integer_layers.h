#ifndef NNET_INTEGER_LAYERS_H_
#define NNET_INTEGER_LAYERS_H_

// Exact integer layers of a QONNX network in hls4ml: thresholds, scale-shift-round-clip, scale and add, label select.
// Every layer comes for arrays (io_parallel) and for streams of whole rows (io_stream). Values are integers in
// ap_(u)fixed<w, w>; CONFIG_T::wide_t is an ap_int that holds every intermediate value.

#include "hls_stream.h"
#include "nnet_common.h"

namespace nnet {

struct multithreshold_config {
    static const unsigned n_in = 1;       // elements
    static const unsigned n_channels = 1; // rows of thresholds, element i uses row i % n_channels
    static const unsigned n_thr = 1;      // thresholds of a row
    static const int base = 0;
    static const int step = 1;
};

// base + step * (number of thresholds that are at most x)
template <class x_T, class res_T, typename CONFIG_T>
res_T multithreshold_element(x_T x, unsigned channel, typename CONFIG_T::threshold_t thresholds[]) {
    #pragma HLS INLINE
    int count = 0;
    for (unsigned k = 0; k < CONFIG_T::n_thr; k++) {
        #pragma HLS UNROLL
        if (x >= thresholds[channel * CONFIG_T::n_thr + k])
            count++;
    }
    return res_T(CONFIG_T::base + CONFIG_T::step * count);
}

template <class data_T, class res_T, typename CONFIG_T>
void multithreshold(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in],
                    typename CONFIG_T::threshold_t thresholds[CONFIG_T::n_channels * CONFIG_T::n_thr]) {
    #pragma HLS PIPELINE
    for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
        #pragma HLS UNROLL
        res[i] = multithreshold_element<data_T, res_T, CONFIG_T>(data[i], i % CONFIG_T::n_channels, thresholds);
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void multithreshold(hls::stream<data_T> &data, hls::stream<res_T> &res,
                    typename CONFIG_T::threshold_t thresholds[CONFIG_T::n_channels * CONFIG_T::n_thr]) {
    for (unsigned word = 0; word < CONFIG_T::n_in / data_T::size; word++) {
        #pragma HLS PIPELINE
        data_T in = data.read();
        res_T out;
        for (unsigned i = 0; i < data_T::size; i++) {
            #pragma HLS UNROLL
            out[i] = multithreshold_element<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(
                in[i], (word * data_T::size + i) % CONFIG_T::n_channels, thresholds);
        }
        res.write(out);
    }
}

enum integer_rounding { round_half_even, round_floor, round_ceil, round_up, round_down, round_half_up, round_half_down };

struct requantize_config {
    static const unsigned n_in = 1;
    static const int shift = 0;
    static const integer_rounding rounding = round_half_even;
    static const int lo = 0;
    static const int hi = 1;
};

// clip(round(x / 2^shift), lo, hi)
template <class x_T, class res_T, typename CONFIG_T> res_T requantize_element(x_T x) {
    #pragma HLS INLINE
    typedef typename CONFIG_T::wide_t wide_t;
    wide_t value = x;
    if (CONFIG_T::shift <= 0) {
        value = value << (CONFIG_T::shift < 0 ? -CONFIG_T::shift : 0);
    } else {
        const unsigned shift = CONFIG_T::shift > 0 ? CONFIG_T::shift : 1;
        const wide_t unit = wide_t(1) << shift;
        const wide_t half = wide_t(1) << (shift - 1);
        const wide_t negative = value < 0 ? 1 : 0;
        switch (CONFIG_T::rounding) {
        case round_half_even:
            value = value + half - 1 + ((value >> shift) & 1);
            break;
        case round_floor:
            break;
        case round_ceil:
            value = value + unit - 1;
            break;
        case round_up: // away from zero
            value = value + (negative != 0 ? wide_t(0) : wide_t(unit - 1));
            break;
        case round_down: // towards zero
            value = value + (negative != 0 ? wide_t(unit - 1) : wide_t(0));
            break;
        case round_half_up: // ties away from zero
            value = value + half - negative;
            break;
        case round_half_down: // ties towards zero
            value = value + half - 1 + negative;
            break;
        }
        value = value >> shift;
    }
    if (value < CONFIG_T::lo)
        value = CONFIG_T::lo;
    if (value > CONFIG_T::hi)
        value = CONFIG_T::hi;
    return res_T(value);
}

template <class data_T, class res_T, typename CONFIG_T>
void requantize(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in]) {
    #pragma HLS PIPELINE
    for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
        #pragma HLS UNROLL
        res[i] = requantize_element<data_T, res_T, CONFIG_T>(data[i]);
    }
}

template <class data_T, class res_T, typename CONFIG_T> void requantize(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    for (unsigned word = 0; word < CONFIG_T::n_in / data_T::size; word++) {
        #pragma HLS PIPELINE
        data_T in = data.read();
        res_T out;
        for (unsigned i = 0; i < data_T::size; i++) {
            #pragma HLS UNROLL
            out[i] = requantize_element<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(in[i]);
        }
        res.write(out);
    }
}

struct integer_affine_config {
    static const unsigned n_in = 1;
    static const unsigned n_channels = 1;
};

// factor * x + constant, for each channel
template <class data_T, class res_T, typename CONFIG_T>
void integer_affine(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in],
                    typename CONFIG_T::factor_t factor[CONFIG_T::n_channels],
                    typename CONFIG_T::constant_t constant[CONFIG_T::n_channels]) {
    #pragma HLS PIPELINE
    for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
        #pragma HLS UNROLL
        res[i] = data[i] * factor[i % CONFIG_T::n_channels] + constant[i % CONFIG_T::n_channels];
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void integer_affine(hls::stream<data_T> &data, hls::stream<res_T> &res,
                    typename CONFIG_T::factor_t factor[CONFIG_T::n_channels],
                    typename CONFIG_T::constant_t constant[CONFIG_T::n_channels]) {
    for (unsigned word = 0; word < CONFIG_T::n_in / data_T::size; word++) {
        #pragma HLS PIPELINE
        data_T in = data.read();
        res_T out;
        for (unsigned i = 0; i < data_T::size; i++) {
            #pragma HLS UNROLL
            const unsigned channel = (word * data_T::size + i) % CONFIG_T::n_channels;
            out[i] = in[i] * factor[channel] + constant[channel];
        }
        res.write(out);
    }
}

struct label_select_config {
    static const unsigned n_in = 1;
    static const unsigned k = 1;
    static const bool largest = true;
};

// the indices of the k largest (or smallest) elements; ties go to the lowest index
template <class x_T, class res_T, typename CONFIG_T> void label_select_row(x_T data[CONFIG_T::n_in], res_T res[CONFIG_T::k]) {
    #pragma HLS INLINE
    bool taken[CONFIG_T::n_in];
    for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
        #pragma HLS UNROLL
        taken[i] = false;
    }
    for (unsigned rank = 0; rank < CONFIG_T::k; rank++) {
        #pragma HLS UNROLL
        unsigned best = CONFIG_T::n_in;
        for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
            #pragma HLS UNROLL
            if (!taken[i]) {
                const bool better =
                    best == CONFIG_T::n_in || (CONFIG_T::largest ? data[i] > data[best] : data[i] < data[best]);
                if (better)
                    best = i;
            }
        }
        taken[best] = true;
        res[rank] = res_T(best);
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void label_select(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::k]) {
    #pragma HLS PIPELINE
    label_select_row<data_T, res_T, CONFIG_T>(data, res);
}

template <class data_T, class res_T, typename CONFIG_T>
void label_select(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    #pragma HLS PIPELINE
    data_T in = data.read();
    res_T out;
    label_select_row<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(in.data, out.data);
    res.write(out);
}

} // namespace nnet

#endif
