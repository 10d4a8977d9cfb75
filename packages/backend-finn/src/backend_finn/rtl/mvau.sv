/// Multiplies a vector of MW integers with a constant MW x MH matrix: MH/PE words of PE accumulators per vector.
/// Latency: MW/SIMD + 4 cycles from the first word in to the first word out. Rate: one vector per (MW/SIMD)*(MH/PE)
/// cycles, kept up from vector to vector. Back-pressure: nothing moves while an offered result is not taken.
/// Reset clears the counters and out_valid_o; out_data_o is meaningless until the first out_valid_o.
///
/// Operands are taken bit plane by bit plane: plane i of the activations against plane j of the weights is one AND (or
/// XNOR) and one population count, worth 2**(i+j), negative for the sign plane of either. A bipolar operand is one plane
/// (0 is -1, 1 is +1). What the planes leave out is constant in a row; the generator adds it to the start values or takes it
/// from the thresholds that follow:
///   bipolar weights, bipolar activations: XNOR, doubled; row constant -MW
///   bipolar weights, integer activations: XNOR;          row constant (ones of the row - MW) * (sum of the plane values)
///   integer weights, bipolar activations: AND, doubled;  row constant -(sum of the row)
/// A word of the weight memory holds, from the least significant bit: for each PE, for each plane, SIMD bits.
module mvau #(
  parameter int unsigned MW         = 8,   // elements of the input vector
  parameter int unsigned MH         = 4,   // elements of the output vector
  parameter int unsigned PE         = 2,   // rows at a time, divides MH
  parameter int unsigned SIMD       = 4,   // elements at a time, divides MW
  parameter int unsigned ABits      = 2,   // bits of an activation
  parameter bit          ASigned    = 1'b0,
  parameter int unsigned WBits      = 2,   // bits of a weight
  parameter bit          WSigned    = 1'b1,
  parameter bit          Xnor       = 1'b0, // planes meet in an XNOR: bipolar weights, one bit without sign
  parameter bit          Doubled    = 1'b0, // each product counts twice: bipolar activations, one bit without sign
  parameter int unsigned AccBits    = 8,   // bits of a result, two's complement; sums are taken modulo 2**AccBits
  parameter bit          HasStart   = 1'b0, // accumulators start from StartFile, else from zero
  parameter              WeightFile = "",  // (MH/PE)*(MW/SIMD) words of PE*WBits*SIMD bits
  parameter              StartFile  = ""   // MH/PE words of PE*AccBits bits
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,  // synchronous
  input  logic                  in_valid_i,
  output logic                  in_ready_o,
  input  logic [SIMD*ABits-1:0] in_data_i,
  output logic                  out_valid_o,
  input  logic                  out_ready_i,
  output logic [PE*AccBits-1:0] out_data_o
);
  localparam int unsigned NeuronFold  = MH / PE;
  localparam int unsigned SynapseFold = MW / SIMD;
  localparam int unsigned Depth       = NeuronFold * SynapseFold;
  localparam int unsigned AddressBits = Depth > 1 ? $clog2(Depth) : 1;
  localparam int unsigned RowBits     = NeuronFold > 1 ? $clog2(NeuronFold) : 1;
  localparam int unsigned Worth       = Doubled ? 1 : 0;
  // A dot product of one word lies strictly between -2**DotBound and 2**DotBound.
  localparam int unsigned DotBound    = ABits + WBits + Worth + $clog2(SIMD);
  localparam int unsigned DotBits     = DotBound + 1 < AccBits ? DotBound + 1 : AccBits;

  if (MH % PE != 0 || MW % SIMD != 0) begin : gen_wrong_fold
    $error("mvau: PE has to divide MH, and SIMD has to divide MW");
  end
  if ((Doubled && (ABits != 1 || ASigned)) || (Xnor && (WBits != 1 || WSigned))) begin : gen_wrong_bipolar
    $error("mvau: a bipolar operand has one bit and no sign");
  end

  logic en;
  assign en = ~out_valid_o | out_ready_i;

  // 1: read the activations and the weights.
  logic                       issue, first_1, last_1, valid_1;
  logic [SIMD*ABits-1:0]      planes_in, a_q;
  logic [PE*WBits*SIMD-1:0]   w_q;
  logic [AddressBits-1:0]     address_q;
  logic [PE*WBits*SIMD-1:0]   weights [Depth];

  initial $readmemh(WeightFile, weights, 0, Depth - 1);

  for (genvar i = 0; i < ABits; i++) begin : gen_plane
    for (genvar k = 0; k < SIMD; k++) begin : gen_element
      assign planes_in[i*SIMD+k] = in_data_i[k*ABits+i];
    end
  end

  replay_buffer #(
    .Width(SIMD*ABits), .Words(SynapseFold), .Repeats(NeuronFold)
  ) i_replay_buffer (
    .clk_i, .rst_ni, .in_valid_i, .in_ready_o, .in_data_i(planes_in), .en_i(en), .issue_o(issue),
    .out_valid_o(valid_1), .out_first_o(first_1), .out_last_o(last_1), .out_data_o(a_q)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) address_q <= '0;
    else if (issue) address_q <= (address_q == AddressBits'(Depth - 1)) ? '0 : address_q + 1'b1;
  end
  always_ff @(posedge clk_i) begin
    if (en) w_q <= weights[address_q];
  end

  // 2: the dot product of one word with one word of each row.
  logic                       first_2, last_2, valid_2;
  logic [PE-1:0][DotBits-1:0] dot_q;

  for (genvar p = 0; p < PE; p++) begin : gen_dot
    logic [DotBits-1:0] dot_d;

    always_comb begin
      dot_d = '0;
      for (int unsigned j = 0; j < WBits; j++) begin
        for (int unsigned i = 0; i < ABits; i++) begin
          if ((ASigned && i == ABits-1) != (WSigned && j == WBits-1)) begin
            dot_d -= DotBits'($countones(
              Xnor ? ~(w_q[(p*WBits+j)*SIMD +: SIMD] ^ a_q[i*SIMD +: SIMD])
                   : w_q[(p*WBits+j)*SIMD +: SIMD] & a_q[i*SIMD +: SIMD])) << (i + j + Worth);
          end else begin
            dot_d += DotBits'($countones(
              Xnor ? ~(w_q[(p*WBits+j)*SIMD +: SIMD] ^ a_q[i*SIMD +: SIMD])
                   : w_q[(p*WBits+j)*SIMD +: SIMD] & a_q[i*SIMD +: SIMD])) << (i + j + Worth);
          end
        end
      end
    end
    always_ff @(posedge clk_i) begin
      if (en) dot_q[p] <= dot_d;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_2 <= 1'b0;
    else if (en) valid_2 <= valid_1;
  end
  always_ff @(posedge clk_i) begin
    if (en) {first_2, last_2} <= {first_1, last_1};
  end

  // 3: accumulate; the accumulator of the last word is the result.
  logic [PE*AccBits-1:0] start_q;

  if (HasStart) begin : gen_start
    logic [PE*AccBits-1:0] starts [NeuronFold];
    logic [RowBits-1:0]    row_q;

    initial $readmemh(StartFile, starts, 0, NeuronFold - 1);

    always_ff @(posedge clk_i) begin
      if (!rst_ni) row_q <= '0;
      else if (en & valid_1 & last_1) row_q <= (row_q == RowBits'(NeuronFold - 1)) ? '0 : row_q + 1'b1;
    end
    always_ff @(posedge clk_i) begin
      if (en) start_q <= starts[row_q];
    end
  end else begin : gen_no_start
    assign start_q = '0;
  end

  for (genvar p = 0; p < PE; p++) begin : gen_accumulate
    always_ff @(posedge clk_i) begin
      if (en & valid_2) begin
        out_data_o[p*AccBits +: AccBits] <=
          (first_2 ? start_q[p*AccBits +: AccBits] : out_data_o[p*AccBits +: AccBits]) + AccBits'($signed(dot_q[p]));
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) out_valid_o <= 1'b0;
    else if (en) out_valid_o <= valid_2 & last_2;
  end
endmodule
