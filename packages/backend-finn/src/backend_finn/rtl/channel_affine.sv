/// Multiplies each of PE lanes by an integer and adds an integer, both constants of the lane's channel.
/// Latency: 2 cycles. Rate: one word of PE channels per cycle.
/// Back-pressure: nothing moves while an offered result is not taken; in_ready_o depends on out_ready_i.
/// Reset clears the channel counter and out_valid_o; out_data_o is meaningless until the first out_valid_o.
///
/// A word of the memory holds, from the least significant bit, for each lane the factor and then the constant, both two's
/// complement. Products are sums of shifted inputs, so that small factors take no multiplier.
module channel_affine #(
  parameter int unsigned Channels     = 4,
  parameter int unsigned PE           = 2,     // channels at a time, divides Channels
  parameter int unsigned InBits       = 8,     // bits of an input
  parameter bit          InSigned     = 1'b1,
  parameter int unsigned FactorBits   = 2,
  parameter int unsigned ConstantBits = 4,
  parameter int unsigned OutBits      = 8,     // bits of an output; results are taken modulo 2**OutBits
  parameter              File         = ""     // Channels/PE words of PE*(FactorBits+ConstantBits) bits
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,  // synchronous
  input  logic                  in_valid_i,
  output logic                  in_ready_o,
  input  logic [PE*InBits-1:0]  in_data_i,
  output logic                  out_valid_o,
  input  logic                  out_ready_i,
  output logic [PE*OutBits-1:0] out_data_o
);
  localparam int unsigned Fold     = Channels / PE;
  localparam int unsigned FoldBits = Fold > 1 ? $clog2(Fold) : 1;
  localparam int unsigned PairBits = FactorBits + ConstantBits;

  if (Channels % PE != 0) begin : gen_wrong_fold
    $error("channel_affine: PE has to divide Channels");
  end

  logic                   en, valid_q;
  logic [FoldBits-1:0]    fold_q;
  logic [PE*PairBits-1:0] memory [Fold];
  logic [PE*PairBits-1:0] pair_q;
  logic [PE*InBits-1:0]   x_q;

  initial $readmemh(File, memory, 0, Fold - 1);

  assign en         = ~out_valid_o | out_ready_i;
  assign in_ready_o = en;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      {out_valid_o, valid_q} <= '0;
      fold_q                 <= '0;
    end else if (en) begin
      {out_valid_o, valid_q} <= {valid_q, in_valid_i};
      if (in_valid_i) fold_q <= (fold_q == FoldBits'(Fold - 1)) ? '0 : fold_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (en) begin
      pair_q <= memory[fold_q];
      x_q    <= in_data_i;
    end
  end

  for (genvar p = 0; p < PE; p++) begin : gen_lane
    logic [OutBits-1:0]    x, result;
    logic [FactorBits-1:0] factor;

    assign x      = InSigned ? OutBits'($signed(x_q[p*InBits +: InBits])) : OutBits'(x_q[p*InBits +: InBits]);
    assign factor = pair_q[p*PairBits +: FactorBits];

    always_comb begin
      result = OutBits'($signed(pair_q[p*PairBits+FactorBits +: ConstantBits]));
      for (int unsigned j = 0; j < FactorBits; j++) begin
        if (j == FactorBits - 1) result -= factor[j] ? x << j : '0;
        else result += factor[j] ? x << j : '0;
      end
    end

    always_ff @(posedge clk_i) begin
      if (en) out_data_o[p*OutBits +: OutBits] <= result;
    end
  end
endmodule
